import Devices
import SavedState
import X86

/// The host's side of the machine: consoles, screen, keyboard, and what a debugger asks.
extension VirtualMachine {
  // MARK: Serial ports

  /// Sends what the guest writes on UART `slot` (1 to 4) to `output`, which must not block.
  public func connectSerial(slot: Int, _ output: @escaping @Sendable ([UInt8]) -> Void) {
    board.uarts[slot]?.connect(output)
  }

  /// Types into UART `slot`, as much as there is room for. A UART that is not there takes everything.
  /// - Returns: how many bytes were taken; the caller keeps the rest until `onSerialRoom`.
  public func serialInput(slot: Int, _ bytes: [UInt8]) -> Int {
    board.uarts[slot].map { $0.input.offer(bytes) } ?? bytes.count
  }

  /// - Parameter body: called when UART `slot` could not take all that was typed and has room again. It must not block.
  public func onSerialRoom(slot: Int, _ body: @escaping @Sendable () -> Void) { board.uarts[slot]?.input.onRoom(body) }

  // MARK: Screen and keyboard

  /// The picture as the display shows it while blinking characters and the cursor are visible: what a picture is taken
  /// for does not depend on the moment.
  public func screenshot() -> Frame { lock.withLock { board.vga.renderFrame(blinkOn: true) } }

  /// The picture as a PNG file.
  public func screenshotPNG() -> [UInt8] { PNGWriter.encode(screenshot()) }

  /// The lines of a text mode, or nil in a graphics mode.
  public func textScreen() -> [String]? { lock.withLock { board.vga.textScreen() } }

  /// Make and break codes of set 1, as `keyboardputscancode` takes them.
  /// - Throws: `MachineError` when too many keys wait for the guest already; then none is taken.
  public func pressKeys(scancodes: [UInt8]) throws {
    guard lock.withLock({ board.keyboard.key(scancodes) }) else { throw MachineError.keysWaiting }
  }

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

  // MARK: Warming up

  /// Has this process do what it would do for the first time when the machine runs.
  public func rehearse() {
    guard let cpu = board.cpus.first else { return }
    Rehearsal.run(profile: cpu.profile, accelerator: cpu.accelerator)
  }
}
