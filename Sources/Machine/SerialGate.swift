import Foundation

/// What a guest has written on a serial port.
public struct ConsoleOutput: Equatable, Sendable {
  /// The port, as in `MachineConfiguration.consoles`.
  public var slot: Int
  /// What it wrote, in order.
  public var bytes: [UInt8]

  public init(slot: Int, bytes: [UInt8]) {
    self.slot = slot
    self.bytes = bytes
  }
}

/// Between the serial ports and who listens to them: what a guest writes goes through, or waits until it may.
final class SerialGate: @unchecked Sendable {
  private let lock = NSLock()
  private var outputs: [Int: @Sendable ([UInt8]) -> Void] = [:]
  /// nil: nothing is held.
  private var current: [ConsoleOutput]?
  private var sealed: [ConsoleOutput] = []
  private var bytes = 0
  private var whenHeld: @Sendable () -> Void = {}

  func connect(_ slot: Int, _ output: @escaping @Sendable ([UInt8]) -> Void) {
    lock.withLock { outputs[slot] = output }
  }

  /// Output of the guest's.
  func pass(_ new: [UInt8], _ slot: Int) {
    let (output, tells) = lock.withLock { () -> ((@Sendable ([UInt8]) -> Void)?, (@Sendable () -> Void)?) in
      guard let held = current else { return (outputs[slot], nil) }
      bytes += new.count
      if held.last?.slot == slot {
        current?[held.count - 1].bytes += new
      } else {
        current?.append(ConsoleOutput(slot: slot, bytes: new))
      }
      return (nil, held.isEmpty ? whenHeld : nil)
    }
    output?(new)
    tells?()
  }

  func hold(_ onHeld: @escaping @Sendable () -> Void) {
    lock.withLock {
      if current == nil { current = [] }
      whenHeld = onHeld
    }
  }

  /// Not sealed yet.
  var heldBytes: Int { lock.withLock { bytes } }

  /// What was written since the last call.
  func seal() -> [ConsoleOutput] {
    lock.withLock {
      guard let held = current else { return [] }
      current = []
      bytes = 0
      sealed += held
      return held
    }
  }

  /// Lets go what was sealed.
  func release() { show(lock.withLock { take() }) }

  private func take() -> [ConsoleOutput] {
    defer { sealed = [] }
    return sealed
  }

  /// Lets go everything, from now on as well. At a safe point: nothing is written meanwhile.
  func releaseAll() {
    show(
      lock.withLock {
        defer { (current, bytes) = (nil, 0) }
        return take() + (current ?? [])
      })
  }

  /// What another machine's guest has written.
  func show(_ list: [ConsoleOutput]) {
    let outputs = lock.withLock { self.outputs }
    for piece in list { outputs[piece.slot]?(piece.bytes) }
  }
}
