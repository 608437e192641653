import SavedState

/// One 8259A interrupt controller without its bus: registers, priorities, commands.
///
/// Source: Intel 8259A data sheet (231468). The edge/level register is the PIIX3's (290550, 2.5.6).
public struct PIC8259Core: Sendable {
  /// The registers, as a saved state holds them.
  public struct State: Codable, Equatable, Sendable {
    var irr: UInt8 = 0
    var imr: UInt8 = 0
    var isr: UInt8 = 0
    /// The inputs' levels, for edge detection.
    var inputs: UInt8 = 0
    /// Edge/level control: a set bit makes the input level-triggered.
    var elcr: UInt8 = 0
    /// The vector of input 0 (ICW2).
    var vectorBase: UInt8 = 0
    /// The input that has the highest priority; the others follow in a ring.
    var highest: UInt8 = 0
    /// The next initialisation word: 0 none, 2 ICW2, 3 ICW3, 4 ICW4.
    var initialising: UInt8 = 0
    var needsICW4 = false
    var single = false
    /// LTIM of ICW1: all inputs level-triggered.
    var allLevel = false
    var autoEOI = false
    var rotateOnAutoEOI = false
    var specialFullyNested = false
    var specialMask = false
    /// OCW3's poll command: the next read is an acknowledge.
    var poll = false
    /// OCW3: whether the command port reads ISR (or IRR).
    var readsISR = false
  }

  /// What a saved state holds of it.
  public internal(set) var state = State()
  let isMaster: Bool
  /// Inputs that ELCR can set to level (3.2: not 0, 1, 2, 8, 13).
  let elcrMask: UInt8

  init(isMaster: Bool) {
    self.isMaster = isMaster
    elcrMask = isMaster ? 0xF8 : 0xDE
  }

  @inline(__always)
  private func isLevel(_ bit: UInt8) -> Bool { state.allLevel || state.elcr & bit != 0 }

  mutating func setInput(_ input: Int, _ level: Bool) {
    let bit = 1 as UInt8 &<< UInt8(input)
    if isLevel(bit) {
      if level { state.irr |= bit } else { state.irr &= ~bit }
    } else if level && state.inputs & bit == 0 {
      // The latch keeps the request when the input falls again, so that no device has to hold its pulse.
      state.irr |= bit
    }
    if level { state.inputs |= bit } else { state.inputs &= ~bit }
  }

  /// The slave's output, on input 2: it follows the slave down, or a request that went away would be answered twice.
  @inline(__always)
  mutating func setCascade(_ level: Bool) {
    if !level { state.irr &= ~4 }
    setInput(2, level)
  }

  /// Place in the priority ring of the most urgent bit set; 8 when none is.
  @inline(__always)
  private func priority(_ bits: UInt8) -> Int {
    guard bits != 0 else { return 8 }
    let turn = state.highest & 7
    let rotated = turn == 0 ? bits : bits &>> turn | bits &<< (8 &- turn)
    return rotated.trailingZeroBitCount
  }

  /// The input to be served, or nil.
  var pending: Int? {
    let requests = priority(state.irr & ~state.imr)
    guard requests < 8 else { return nil }
    var served = state.isr
    if state.specialMask { served &= ~state.imr }
    // Special fully nested mode: the cascade input may interrupt itself.
    if state.specialFullyNested && isMaster { served &= ~4 }
    guard requests < priority(served) else { return nil }
    return (requests + Int(state.highest)) & 7
  }

  mutating func acknowledge(_ input: Int) {
    let bit = 1 as UInt8 &<< UInt8(input)
    if state.autoEOI {
      if state.rotateOnAutoEOI { state.highest = UInt8((input + 1) & 7) }
    } else {
      state.isr |= bit
    }
    if !isLevel(bit) { state.irr &= ~bit }
  }

  mutating func write(_ address: Int, _ value: UInt8) {
    if address == 0 {
      if value & 0x10 != 0 {
        initialise(value)
      } else if value & 0x08 != 0 {
        operationControl3(value)
      } else {
        operationControl2(value)
      }
      return
    }
    switch state.initialising {
    case 2:
      state.vectorBase = value & 0xF8
      state.initialising = state.single ? (state.needsICW4 ? 4 : 0) : 3
    case 3: state.initialising = state.needsICW4 ? 4 : 0
    case 4:
      state.autoEOI = value & 2 != 0
      state.specialFullyNested = value & 0x10 != 0
      state.initialising = 0
    default: state.imr = value
    }
  }

  private mutating func initialise(_ value: UInt8) {
    var fresh = State()
    fresh.elcr = state.elcr
    fresh.inputs = state.inputs
    fresh.initialising = 2
    fresh.needsICW4 = value & 1 != 0
    fresh.single = value & 2 != 0
    fresh.allLevel = value & 8 != 0
    fresh.vectorBase = state.vectorBase
    // Level-triggered inputs are asserted still; edges have to come anew.
    let level: UInt8 = fresh.allLevel ? 0xFF : fresh.elcr
    fresh.irr = fresh.inputs & level
    state = fresh
  }

  private mutating func operationControl2(_ value: UInt8) {
    let named = value & 7
    switch value >> 5 {
    case 0: state.rotateOnAutoEOI = false
    case 4: state.rotateOnAutoEOI = true
    case 1, 5:  // non-specific EOI, and with rotation
      var served = state.isr
      if state.specialMask { served &= ~state.imr }
      let place = priority(served)
      guard place < 8 else { return }
      let input = UInt8((place + Int(state.highest)) & 7)
      state.isr &= ~(1 << input)
      if value >> 5 == 5 { state.highest = (input + 1) & 7 }
    case 3: state.isr &= ~(1 << named)
    case 7:
      state.isr &= ~(1 << named)
      state.highest = (named + 1) & 7
    case 6: state.highest = (named + 1) & 7
    default: break
    }
  }

  private mutating func operationControl3(_ value: UInt8) {
    if value & 4 != 0 { state.poll = true }
    if value & 2 != 0 { state.readsISR = value & 1 != 0 }
    if value & 0x40 != 0 { state.specialMask = value & 0x20 != 0 }
  }

  mutating func read(_ address: Int) -> UInt8 {
    if address == 1 { return state.imr }
    return state.readsISR ? state.isr : state.irr
  }

  mutating func reset() {
    let inputs = state.inputs
    state = State()
    state.inputs = inputs
  }
}

/// The two 8259As of a PC, cascaded over input 2, at ports 0x20, 0xA0 and 0x4D0.
///
/// `setOutput` gets the INTR pin: to LINT0 of the local APIC, or to the CPU where there is none.
public final class PIC8259: Device, BytePortIO {
  /// The registers, as a saved state holds them.
  public struct State: Codable, Equatable, Sendable {
    var master: PIC8259Core.State
    var slave: PIC8259Core.State
    var output: Bool
  }

  public let name = "pic"
  private var master = PIC8259Core(isMaster: true)
  private var slave = PIC8259Core(isMaster: false)
  /// The master's INT output.
  public private(set) var output = false
  /// The INTR pin changed.
  public var setOutput: (Bool) -> Void = { _ in }

  /// Both chips, at their ports of the PC.
  public init(ports: PortBus) {
    ports.map(self, 0x20...0x21)
    ports.map(self, 0xA0...0xA1)
    ports.map(self, 0x4D0...0x4D1)
  }

  /// Sets the level of an interrupt request, 0 to 15; 2 is the cascade's own.
  public func setInput(_ irq: Int, _ level: Bool) {
    if irq < 8 { master.setInput(irq, level) } else { slave.setInput(irq &- 8, level) }
    update()
  }

  private func update() {
    master.setCascade(slave.pending != nil)
    let level = master.pending != nil
    guard level != output else { return }
    output = level
    setOutput(level)
  }

  /// The CPU's interrupt acknowledge cycle: the vector. Input 7 of a chip answers for a request that went away.
  public func acknowledge() -> UInt8 {
    defer { update() }
    guard let input = master.pending else { return master.state.vectorBase | 7 }
    master.acknowledge(input)
    guard input == 2 else { return master.state.vectorBase | UInt8(input) }
    let vector: UInt8
    if let second = slave.pending {
      slave.acknowledge(second)
      vector = slave.state.vectorBase | UInt8(second)
    } else {
      vector = slave.state.vectorBase | 7
    }
    // The slave's output drops between two of its interrupts, so that the next one is an edge again.
    master.setCascade(false)
    return vector
  }

  private func pollRead(_ chip: inout PIC8259Core) -> UInt8 {
    chip.state.poll = false
    guard let input = chip.pending else { return 0 }
    chip.acknowledge(input)
    return 0x80 | UInt8(input)
  }

  public func readByte(_ port: UInt16) -> UInt8 {
    switch port {
    case 0x20, 0x21:
      guard master.state.poll else { return master.read(Int(port & 1)) }
      let value = pollRead(&master)
      update()
      return value
    case 0xA0, 0xA1:
      guard slave.state.poll else { return slave.read(Int(port & 1)) }
      let value = pollRead(&slave)
      update()
      return value
    case 0x4D0: return master.state.elcr
    case 0x4D1: return slave.state.elcr
    default: return 0xFF
    }
  }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    switch port {
    case 0x20, 0x21: master.write(Int(port & 1), value)
    case 0xA0, 0xA1: slave.write(Int(port & 1), value)
    case 0x4D0: master.state.elcr = value & master.elcrMask
    case 0x4D1: slave.state.elcr = value & slave.elcrMask
    default: return
    }
    update()
  }

  public func reset() {
    master.reset()
    slave.reset()
    update()
  }

  public func save() throws -> StateSection {
    let state = State(master: master.state, slave: slave.state, output: output)
    return try StateSection(name: name, kind: "pic8259", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "pic8259", upTo: 1)
    for chip in [loaded.master, loaded.slave] {
      try requireValid(chip.highest < 8, in: section, "input \(chip.highest) cannot have the highest priority")
      try requireValid([0, 2, 3, 4].contains(chip.initialising), in: section, "no such initialisation word")
      try requireValid(chip.vectorBase & 7 == 0, in: section, "the vector base is a multiple of 8")
    }
    master.state = loaded.master
    slave.state = loaded.slave
    output = loaded.output
  }

  public func pause() {}
  public func resume() {}
}
