import Devices
import SavedState
import X86

/// The host's side of the machine: consoles, screen, keyboard, and what a debugger asks.
extension VirtualMachine {
  // MARK: Serial ports

  /// Sends what the guest writes on serial port `slot` (`MachineConfiguration.consoles`) to `output`, which must not block.
  public func connectSerial(slot: Int, _ output: @escaping @Sendable ([UInt8]) -> Void) {
    serialGate.connect(slot, output)
    board.serialPorts[slot]?.connect { [serialGate] in serialGate.pass($0, slot) }
  }

  /// Types into serial port `slot`, as much as there is room for. One that is not there takes everything.
  /// - Returns: how many bytes were taken; the caller keeps the rest until `onSerialRoom`.
  public func serialInput(slot: Int, _ bytes: [UInt8]) -> Int {
    board.serialPorts[slot].map { $0.input.offer(bytes) } ?? bytes.count
  }

  /// The other side of UART `slot` holds the line in a break (SysRq on a Linux console). A virtio console has none.
  public func serialBreak(slot: Int) { lock.withLock { board.serialPorts[slot]?.receiveBreak() } }

  /// The terminal of a console has another size, in characters. Only a virtio console can tell its guest.
  public func resizeConsole(slot: Int, columns: UInt16, rows: UInt16) {
    lock.withLock { board.serialPorts[slot]?.resize(columns: columns, rows: rows) }
  }

  /// - Parameter body: called when serial port `slot` could not take all that was typed and has room again. It must not block.
  public func onSerialRoom(slot: Int, _ body: @escaping @Sendable () -> Void) {
    board.serialPorts[slot]?.input.onRoom(body)
  }

  // MARK: Screen and keyboard

  /// The picture as the display shows it while blinking characters and the cursor are visible: what a picture is taken
  /// for does not depend on the moment.
  public func screenshot() -> Frame { lock.withLock { board.vga.renderFrame(blinkOn: true) } }

  /// The picture as a PNG file.
  public func screenshotPNG() -> [UInt8] { PNGWriter.encode(screenshot()) }

  /// The lines of a text mode, or nil in a graphics mode.
  public func textScreen() -> [String]? { lock.withLock { board.vga.textScreen() } }

  /// A copy of the screen, of which nothing is taken yet. There is one at a time.
  public func makeScreenCopy() -> ScreenCopy { lock.withLock { board.vga.makeScreenCopy() } }

  /// Takes what has changed on the screen into its copy. The machine waits for a moment at a time.
  public func take(into copy: ScreenCopy) {
    while !lock.withLock({ board.vga.take(into: copy) }) {}
  }

  /// Moves the pointer (right, down and towards the user positive) and says which buttons are down: left 1, right 2, middle 4.
  public func movePointer(dx: Int, dy: Int, wheel: Int, buttons: UInt8) {
    lock.withLock { board.keyboard.mouseEvent(dx: dx, dy: dy, dz: wheel, buttons: buttons) }
  }

  /// Make and break codes of set 1, as `keyboardputscancode` takes them.
  /// - Throws: `MachineError` when too many keys wait for the guest already; then none is taken.
  public func pressKeys(scancodes: [UInt8]) throws {
    guard lock.withLock({ board.keyboard.key(scancodes) }) else { throw MachineError.keysWaiting }
  }

  /// Whether a US keyboard has a key for a character.
  public static func canType(_ character: Character) -> Bool { ScanCodes.type(character) != nil }

  /// Types `text` on a US keyboard.
  /// - Throws: `MachineError` for characters that keyboard has no key for, and when too many keys wait already; then nothing
  ///   is typed.
  public func typeText(_ text: String) throws {
    let missing = text.filter { ScanCodes.type($0) == nil }
    guard missing.isEmpty else {
      throw MachineError.noKey(characters: missing)
    }
    guard lock.withLock({ board.keyboard.type(text) }) else { throw MachineError.keysWaiting }
  }

  // MARK: Debugger

  /// The registers of every CPU, as text.
  public func registers() -> String {
    atSafePoint { board.cpus.map { "CPU \($0.index)\n" + $0.registersDump() }.joined(separator: "\n") }
  }

  /// What executing guest code has taken, a line each.
  public func executionStatistics() -> String {
    atSafePoint { board.cpus.compactMap(\.translationReport).joined(separator: "\n") }
  }

  /// What the guest code at an address, hexadecimal, has become on the host: a block's guest and host instructions, for
  /// each CPU. Without an address, where each CPU is.
  ///
  /// - Throws: `MachineError` when `address` is no number.
  public func translatedBlock(_ address: String?) throws -> String {
    var place: UInt64?
    if let address {
      let digits = address.lowercased().hasPrefix("0x") ? String(address.dropFirst(2)) : address
      place = UInt64(digits, radix: 16)
      guard place != nil else {
        throw MachineError.noAddress(address)
      }
    }
    return atSafePoint { board.cpus.map { $0.blockReport(at: place) }.joined(separator: "\n\n") }
  }

  /// What `debugvm NAME info` knows about.
  public static let infoTopics = ["memory", "pci", "devices", "clock", "screen"]

  /// - Throws: `MachineError` that lists the topics.
  public func info(_ topic: String) throws -> String {
    switch topic {
    case "memory": return lock.withLock { board.memory.mapDescription }
    case "clock": return "guest time \(board.clock.now) ns"
    case "devices":
      return try lock.withLock { try board.devices.map { try Self.line(of: $0.save()) }.joined(separator: "\n") }
    case "pci": return lock.withLock { board.pciDescription }
    case "screen": return textScreen()?.joined(separator: "\n") ?? "the display is in a graphics mode"
    default:
      throw MachineError.noTopic(topic, known: Self.infoTopics)
    }
  }

  private static func line(of section: StateSection) -> String {
    let fields = String(decoding: section.fields, as: UTF8.self)
    return "\(section.name) (\(section.kind) \(section.version)): \(fields)"
  }

  /// What is logged when the BIOS has found nothing to boot.
  public static let nothingBootable = "the BIOS has found nothing to boot"

  /// Whether the first CPU has paging on.
  public var usesPaging: Bool {
    inspect { $0.first.map { $0.debuggerRead(.control(0))[3] & 0x80 != 0 } ?? false }
  }

  // MARK: Warming up

  /// Has this process do what it would do for the first time when the machine runs.
  public func rehearse() {
    guard let cpu = board.cpus.first else { return }
    Rehearsal.run(profile: cpu.profile, accelerator: cpu.accelerator)
  }
}
