/// A local APIC's registers and priorities, without bus, timer and CPU.
///
/// Source: Intel SDM vol. 3A, chapter 11 (xAPIC), 11.12 (x2APIC).
public struct LocalAPICCore: Sendable {
  /// Entries of the local vector table, in the order of their registers from 0x320.
  enum Local: Int, CaseIterable {
    case timer = 0
    case thermal
    case performance
    case lint0
    case lint1
    case error
  }

  /// Error status register, 11.5.3.
  enum ErrorBit {
    static let sendIllegalVector: UInt32 = 1 << 5
    static let receiveIllegalVector: UInt32 = 1 << 6
    static let illegalRegister: UInt32 = 1 << 7
  }

  static let lvtMasked: UInt32 = 1 << 16
  static let baseEnable: UInt64 = 1 << 11
  static let baseX2APIC: UInt64 = 1 << 10

  /// Its registers (Intel SDM vol. 3A, table 10-1) and its timer.
  public struct State: Codable, Equatable, Sendable {
    /// IA32_APIC_BASE.
    var base: UInt64 = 0
    var id: UInt32 = 0
    var taskPriority: UInt8 = 0
    var logicalDestination: UInt32 = 0
    var destinationFormat: UInt32 = 0xFFFF_FFFF
    var spurious: UInt32 = 0xFF
    var inService = VectorSet()
    var triggerMode = VectorSet()
    var requests = VectorSet()
    var errors: UInt32 = 0
    var errorStatus: UInt32 = 0
    var commandLow: UInt32 = 0
    var commandHigh: UInt32 = 0
    var localVectors: [UInt32] = Array(repeating: LocalAPICCore.lvtMasked, count: 6)
    var initialCount: UInt32 = 0
    var divideConfiguration: UInt32 = 0
    /// Guest nanoseconds when the timer reaches 0; 0: it does not run.
    var timerDeadline: UInt64 = 0
    /// LINT0 and LINT1 levels.
    var lint0 = false
    var lint1 = false
    /// An ExtINT message waits for the 8259A's vector.
    var externalPending = false
    /// The level of the output to the CPU.
    var output = false
  }

  /// What a saved state holds of it.
  public internal(set) var state = State()
  /// The highest vector requested and in service, kept beside the sets: every access asks for them.
  private(set) var highestRequest = -1
  private(set) var highestInService = -1

  let index: Int

  init(index: Int) {
    self.index = index
    powerOn()
  }

  mutating func powerOn() {
    state = State()
    state.id = UInt32(index) << 24
    state.base = 0xFEE0_0000 | Self.baseEnable | (index == 0 ? 0x100 : 0)
    // The bootstrap processor starts in virtual wire mode, the 8259A's output passing through.
    if index == 0 { state.localVectors[Local.lint0.rawValue] = 0x700 }
    refreshHighest()
  }

  /// INIT: as power-on, but for the id and the base register (11.4.7.3).
  mutating func initialise() {
    let old = state
    powerOn()
    state.id = old.id
    state.base = old.base
    state.lint0 = old.lint0
    state.lint1 = old.lint1
    if state.base & Self.baseX2APIC != 0 { state.logicalDestination = x2LogicalID }
  }

  /// IA32_APIC_BASE bit 11 was cleared: all is lost, so that the APIC is as after a reset when it is enabled again, its ID
  /// included (11.4.3).
  mutating func disable() {
    let old = state
    powerOn()
    state.base = old.base
    state.lint0 = old.lint0
    state.lint1 = old.lint1
    state.output = old.output
  }

  mutating func refreshHighest() {
    highestRequest = state.requests.highest.map(Int.init) ?? -1
    highestInService = state.inService.highest.map(Int.init) ?? -1
  }

  @inline(__always)
  var isHardwareEnabled: Bool { state.base & Self.baseEnable != 0 }
  @inline(__always)
  var isSoftwareEnabled: Bool { state.spurious & 0x100 != 0 }
  @inline(__always)
  var isX2APIC: Bool { state.base & Self.baseX2APIC != 0 }

  var x2ID: UInt32 { UInt32(index) }
  /// Cluster in the upper half, one bit in the lower (11.12.10.2).
  var x2LogicalID: UInt32 { (x2ID & ~15) << 12 | 1 << (x2ID & 15) }

  func localVector(_ local: Local) -> UInt32 { state.localVectors[local.rawValue] }

  /// Processor priority, 11.8.3.1.
  @inline(__always)
  var processorPriority: UInt8 {
    let service = highestInService < 0 ? 0 : UInt8(highestInService)
    return state.taskPriority & 0xF0 >= service & 0xF0 ? state.taskPriority : service & 0xF0
  }

  /// The vector the CPU is to take, or -1.
  @inline(__always)
  var deliverable: Int {
    guard highestRequest >= 16, isHardwareEnabled, isSoftwareEnabled else { return -1 }
    return highestRequest & 0xF0 > Int(processorPriority & 0xF0) ? highestRequest : -1
  }

  /// Whether the 8259A's request goes through to the CPU.
  var externalRequest: Bool {
    if state.externalPending { return true }
    guard state.lint0 else { return false }
    if !isHardwareEnabled { return true }
    let entry = localVector(.lint0)
    return entry & Self.lvtMasked == 0 && entry >> 8 & 7 == UInt32(DeliveryMode.external.rawValue)
  }

  var wantsCPU: Bool { deliverable >= 0 || externalRequest }

  mutating func request(_ vector: UInt8, level: Bool) {
    if vector < 16 {
      state.errors |= ErrorBit.receiveIllegalVector
      return
    }
    state.requests.insert(vector)
    if level { state.triggerMode.insert(vector) } else { state.triggerMode.remove(vector) }
    if Int(vector) > highestRequest { highestRequest = Int(vector) }
  }

  mutating func acknowledge() -> UInt8? {
    let vector = deliverable
    guard vector >= 0 else { return nil }
    state.requests.remove(UInt8(vector))
    state.inService.insert(UInt8(vector))
    refreshHighest()
    return UInt8(vector)
  }

  /// - Returns: the vector whose end is to be told to the I/O APICs.
  mutating func endOfInterrupt() -> UInt8? {
    guard highestInService >= 0 else { return nil }
    let vector = UInt8(highestInService)
    state.inService.remove(vector)
    refreshHighest()
    return state.triggerMode.contains(vector) ? vector : nil
  }

  /// Whether a message's destination means this APIC (11.6.2).
  func matches(_ destination: UInt32, logical: Bool) -> Bool {
    if !logical {
      if isX2APIC { return destination == x2ID || destination == 0xFFFF_FFFF || destination == 0xFF }
      return destination & 0xFF == 0xFF || destination == state.id >> 24
    }
    if isX2APIC {
      if destination == 0xFFFF_FFFF || destination == 0xFF { return true }
      return destination >> 16 == x2LogicalID >> 16 && destination & x2LogicalID & 0xFFFF != 0
    }
    if destination & 0xFF == 0xFF { return true }
    let own = state.logicalDestination >> 24
    if state.destinationFormat >> 28 == 0xF { return own & destination != 0 }
    return own >> 4 == destination >> 4 & 15 && own & destination & 15 != 0
  }

  /// The timer's divider (11.5.4).
  var divider: UInt64 {
    let code = state.divideConfiguration & 3 | state.divideConfiguration >> 1 & 4
    return code == 7 ? 1 : 2 << UInt64(code)
  }

  /// Bits of a local vector a guest may write.
  static func writableBits(_ local: Local) -> UInt32 {
    switch local {
    case .timer: 0x000300FF
    case .lint0, .lint1: 0x0001A7FF
    case .thermal, .performance: 0x000107FF
    case .error: 0x000100FF
    }
  }
}
