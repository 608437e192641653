import SavedState

/// A port by which a guest's kernel says that it has panicked: reading tells what may be said, writing says it.
///
/// | bit | |
/// |---|---|
/// | 0 | the guest has panicked |
/// | 1 | it has panicked and goes on with its crash kernel |
///
/// Source: QEMU, docs/specs/pvpanic.rst (ISA). Linux finds it by ACPI (`QEMU0001`), drivers/misc/pvpanic.
public final class PVPanic: Device, BytePortIO {
  struct State: Codable, Equatable, Sendable {
    /// What the guest has said last.
    var event: UInt8 = 0
  }

  /// Where it is looked for.
  public static let port: UInt16 = 0x505
  private static let panicked: UInt8 = 1
  private static let crashLoaded: UInt8 = 2
  private static let events = panicked | crashLoaded

  public let name = "pvpanic"
  private var state = State()
  private let onPanic: (_ hasCrashKernel: Bool) -> Void

  /// - Parameter onPanic: is told each panic, on the thread of the CPU that wrote, with the machine lock held.
  public init(ports: PortBus, onPanic: @escaping (_ hasCrashKernel: Bool) -> Void) {
    self.onPanic = onPanic
    ports.map(self, Self.port...Self.port)
  }

  public func readByte(_ port: UInt16) -> UInt8 { Self.events }

  public func writeByte(_ port: UInt16, _ value: UInt8) {
    state.event = value & Self.events
    if state.event != 0 { onPanic(value & Self.panicked == 0) }
  }

  public func reset() { state = State() }
  public func save() throws -> StateSection { try StateSection(name: name, kind: name, version: 1, state: state) }
  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: name, upTo: 1)
    try requireValid(loaded.event & ~Self.events == 0, in: section, "an event that there is not")
    state = loaded
  }
  public func pause() {}
  public func resume() {}
}
