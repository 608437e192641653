import Foundation
import GuestMemory
import SavedState

/// A part of the board that has state.
///
/// A device is a pure core and some glue: `struct SomethingCore` holds registers and answers `read`/`write`; a final
/// class owns the core, its interrupt line and its back end, and conforms to this protocol.
///
/// Every method is called with the machine lock held. There are no default implementations: a device without state
/// saves an empty one and says so.
public protocol Device: AnyObject {
  /// Stable instance name, which names the section in a saved state: "uart1", "pit", "ide0".
  var name: String { get }
  /// Power-on and system reset.
  func reset()
  /// The state as a section of the saved state. Called while paused.
  func save() throws -> StateSection
  /// Replaces the state by a saved one. Must leave the device unchanged when it throws. Lines get their level back
  /// without an edge (`InterruptLine.restore`).
  func load(_ section: StateSection) throws
  /// Stop producing work (timers, host input); work that comes in is accepted and held.
  func pause()
  func resume()
}

/// A device that answers I/O ports. Called with the machine lock held.
public protocol PortIO: AnyObject {
  /// - Parameter size: 1, 2 or 4 bytes.
  func readPort(_ port: UInt16, size: Int) -> UInt32
  func writePort(_ port: UInt16, size: Int, value: UInt32)
}

/// The I/O port space: 65,536 ports, each answered by at most one device.
public final class PortBus {
  private var owners: [UInt16]  // index into `devices`, plus 1; 0: nobody
  private var devices: [any PortIO] = []

  /// No port is answered by anybody yet.
  public init() { owners = Array(repeating: 0, count: 65536) }

  /// Gives ports to a device; who had them before has them no more.
  public func map(_ device: any PortIO, _ ports: ClosedRange<UInt16>) {
    let index: UInt16
    if let known = devices.firstIndex(where: { $0 === device }) {
      index = UInt16(known + 1)
    } else {
      devices.append(device)
      index = UInt16(devices.count)
    }
    for port in ports { owners[Int(port)] = index }
  }

  /// Takes the ports away from `device`, where they are its own.
  public func unmap(_ device: any PortIO, _ ports: ClosedRange<UInt16>) {
    guard let known = devices.firstIndex(where: { $0 === device }) else { return }
    for port in ports where owners[Int(port)] == UInt16(known + 1) { owners[Int(port)] = 0 }
  }

  /// Takes all ports away, for good: devices know their ports, and so ports that are not wanted any more must forget their
  /// devices.
  public func unmapAll() {
    owners = Array(repeating: 0, count: 65536)
    devices = []
  }

  /// Ports nobody answers read as all ones.
  public func read(_ port: UInt16, size: Int) -> UInt32 {
    let owner = owners[Int(port)]
    guard owner != 0 else { return size == 4 ? .max : (1 << UInt32(size * 8)) - 1 }
    return devices[Int(owner) - 1].readPort(port, size: size)
  }

  public func write(_ port: UInt16, size: Int, value: UInt32) {
    let owner = owners[Int(port)]
    guard owner != 0 else { return }
    devices[Int(owner) - 1].writePort(port, size: size, value: value)
  }
}

/// One wire from a device to an interrupt controller.
public final class InterruptLine {
  /// What the line was last set to; true is asserted.
  public private(set) var level = false
  private let sink: (Bool) -> Void

  /// - Parameter sink: called on every change of level, with the machine lock held.
  public init(_ sink: @escaping (Bool) -> Void) { self.sink = sink }

  /// Sets the line; the receiver hears of changes only.
  public func set(_ level: Bool) {
    guard level != self.level else { return }
    self.level = level
    sink(level)
  }

  /// Asserts the line and lets it go: an edge for the receiver.
  public func pulse() {
    set(true)
    set(false)
  }

  /// Sets the level after a load, without an edge: the controller's own state has been saved too.
  public func restore(_ level: Bool) { self.level = level }

  /// A line that leads nowhere.
  public static var unconnected: InterruptLine { InterruptLine { _ in } }
}
