import SavedState

/// Ports by which test guests and firmware talk to whoever runs the machine: 0xE9 and 0x402 print a character, 0xF4 ends
/// the machine with a code. Off unless the definition says `debug-ports on`.
///
/// Source: Bochs documentation, "port e9 hack"; QEMU, isa-debugcon (reads back 0xE9) and isa-debug-exit.
public final class DebugPorts: Device, BytePortIO {
  /// Text that has not ended in a newline yet, so that a line crosses a teleport whole.
  public struct State: Codable, Equatable, Sendable {
    var text: [UInt8] = []
    var firmware: [UInt8] = []
  }

  static let lineLimit = 1024

  public let name = "debug-ports"
  private var state = State()
  private let log: (String) -> Void
  private let onExit: (UInt8) -> Void

  /// - Parameters:
  ///   - log: gets whole lines.
  ///   - onExit: the byte written to 0xF4.
  public init(ports: PortBus, log: @escaping (String) -> Void, onExit: @escaping (UInt8) -> Void) {
    self.log = log
    self.onExit = onExit
    ports.map(self, 0xE9...0xE9)
    ports.map(self, 0x402...0x402)
    ports.map(self, 0xF4...0xF4)
  }

  public func readByte(_ port: UInt16) -> UInt8 { port == 0xF4 ? 0 : 0xE9 }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    switch port {
    case 0xE9: append(value, to: &state.text)
    case 0x402: append(value, to: &state.firmware)
    default:
      flush()
      onExit(value)
    }
  }

  private func append(_ byte: UInt8, to line: inout [UInt8]) {
    if byte != 0x0A && byte != 0x0D { line.append(byte) }
    if byte == 0x0A || line.count >= Self.lineLimit { emit(&line) }
  }

  private func emit(_ line: inout [UInt8]) {
    log(String(decoding: line, as: UTF8.self))
    line.removeAll(keepingCapacity: true)
  }

  /// Logs what has not ended in a newline.
  public func flush() {
    if !state.text.isEmpty { emit(&state.text) }
    if !state.firmware.isEmpty { emit(&state.firmware) }
  }

  public func reset() { flush() }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "debug-ports", version: 1, state: state)
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "debug-ports", upTo: 1)
    let fits = loaded.text.count < Self.lineLimit && loaded.firmware.count < Self.lineLimit
    try requireValid(fits, in: section, "a line is too long")
    state = loaded
  }

  public func pause() {}
  public func resume() {}
}
