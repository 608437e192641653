import Foundation
import GuestMemory
import SavedState

/// What public test suites for virtual machines expect of the board they run on, beside the exit port of `DebugPorts`:
///
/// | where | what |
/// |---|---|
/// | ports 0xE0 to 0xEB | keep what is written, in pieces of 1, 2 and 4 bytes (0xE9 by itself is the console of `DebugPorts`) |
/// | ports 0x2000 to 0x2017 | a write drives interrupt line 0 to 23: 0 low, anything else high |
/// | 64 KiB from 0xFF000000 | keep what is written |
///
/// Source: QEMU, pc-testdev.
public final class TestDevice: Device, PortIO, MemoryMappedIO {
  /// Guest-physical address of the window.
  public static let windowBase: UInt64 = 0xFF00_0000
  /// Its bytes.
  public static let windowSize = 0x10000
  private static let kept: ClosedRange<UInt16> = 0xE0...0xEB
  private static let lines: ClosedRange<UInt16> = 0x2000...0x2017

  /// The window's bytes are the section's blob.
  public struct State: Codable, Equatable, Sendable {
    /// What ports 0xE0 to 0xEB keep.
    var kept = [UInt8](repeating: 0, count: 12)
    /// A bit an interrupt line.
    var levels: UInt32 = 0
  }

  /// The section's name in a saved state.
  public let name = "suite-ports"
  private var state = State()
  private var window = [UInt8](repeating: 0, count: windowSize)
  private let setLine: (Int, Bool) -> Void

  /// - Parameter setLine: drives an interrupt line, 0 to 23.
  public init(ports: PortBus, memory: PhysicalMemory, setLine: @escaping (Int, Bool) -> Void) {
    self.setLine = setLine
    ports.map(self, Self.kept)
    ports.map(self, Self.lines)
    memory.mapIO(self, name: name, start: Self.windowBase, length: UInt64(Self.windowSize))
  }

  // MARK: Ports

  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    guard Self.kept.contains(port) else {
      return Self.lines.contains(port) ? state.levels >> UInt32(port - Self.lines.lowerBound) & 1 : .max
    }
    return state.kept.dropFirst(Int(port - Self.kept.lowerBound)).prefix(size).enumerated().reduce(0) {
      $0 | UInt32($1.element) << UInt32($1.offset * 8)
    }
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    if Self.kept.contains(port) {
      for index in 0..<size where Int(port - Self.kept.lowerBound) + index < state.kept.count {
        state.kept[Int(port - Self.kept.lowerBound) + index] = UInt8(truncatingIfNeeded: value >> UInt32(index * 8))
      }
    } else if Self.lines.contains(port) {
      let number = Int(port - Self.lines.lowerBound)
      let level = value != 0
      if level { state.levels |= 1 << UInt32(number) } else { state.levels &= ~(1 << UInt32(number)) }
      setLine(number, level)
    }
  }

  // MARK: The window

  public func readMemory(offset: UInt64, size: Int) -> UInt64 {
    window.dropFirst(Int(offset)).prefix(size).enumerated().reduce(0) {
      $0 | UInt64($1.element) << UInt64($1.offset * 8)
    }
  }

  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    for index in 0..<size where Int(offset) + index < window.count {
      window[Int(offset) + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8))
    }
  }

  // MARK: Device

  public func reset() {
    for number in 0..<Self.lines.count where state.levels >> UInt32(number) & 1 != 0 { setLine(number, false) }
    state = State()
    window = [UInt8](repeating: 0, count: Self.windowSize)
  }

  public func save() throws -> StateSection {
    try StateSection(name: name, kind: "test-device", version: 1, state: state, blob: Data(window))
  }

  public func load(_ section: StateSection) throws {
    let loaded = try section.decode(State.self, kind: "test-device", upTo: 1)
    try requireValid(loaded.kept.count == 12, in: section, "its ports keep twelve bytes")
    try requireValid(loaded.levels >> UInt32(Self.lines.count) == 0, in: section, "there are 24 interrupt lines")
    try requireValid(section.blob.count == Self.windowSize, in: section, "its window has 64 KiB")
    state = loaded
    window = [UInt8](section.blob)
  }

  public func pause() {}
  public func resume() {}
}
