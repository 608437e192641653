import Devices
import DiskImages
import GuestMemory

/// What every part of the board is built on: the configuration, the machine lock, and what all devices share.
final class Workbench {
  let configuration: MachineConfiguration
  let lock: MachineLock
  let memory: PhysicalMemory
  let clock: GuestClock
  /// The clock's own, where it goes by instructions.
  let instructionClock: InstructionClock?
  let ports = PortBus()
  let requests = RequestRelay()

  /// - Throws: `GuestMemoryError` when the host has not so much memory.
  init(_ configuration: MachineConfiguration, lock: MachineLock) throws {
    self.configuration = configuration
    self.lock = lock
    let own = configuration.deterministic ? InstructionClock() : nil
    instructionClock = own
    clock = own.map { own in GuestClock { own.now } } ?? GuestClock()
    memory = try PhysicalMemory(size: UInt64(configuration.memoryMB) << 20)
  }
}

/// A part of the board: builds its devices on a workbench and keeps what the machine needs of them.
///
/// A part is told of the parts it is wired to, in the order in which `Board` builds them; none knows the board.
protocol BoardPart {
  /// Its devices with state, in the order of saving and resetting.
  var devices: [any Device] { get }
}

/// Carries what the guest asks for, and what is to be logged, from the devices to the machine, which is not there yet when
/// they are made. Called with the machine lock held or from a CPU's thread.
final class RequestRelay {
  var onRequest: (VirtualMachine.Request) -> Void = { _ in }
  var onLog: (String) -> Void = { _ in }
  /// Called from the disks' thread.
  var onDiskFailure: @Sendable (DiskImageError, _ before: Int) -> Void = { _, _ in }
  func send(_ request: VirtualMachine.Request) { onRequest(request) }
  func log(_ text: String) { onLog(text) }
}
