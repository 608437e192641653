import CHost
import Devices
import GuestMemory
import X86

/// Joins one CPU to the board: its bus cycles reach the devices under the machine lock, the devices' wires reach it as
/// pending bits.
final class BoardEnvironment: CPUEnvironment {
  private let lock: MachineLock
  private let ports: PortBus
  private let memory: PhysicalMemory
  private let clock: GuestClock
  private let apic: LocalAPIC
  private let index: Int
  private let fabric: InterruptFabric
  private let requests: RequestRelay
  private let coprocessorError: CoprocessorErrorLatch
  unowned var cpu: CPU!
  /// Wakes the CPU's thread when it is halted. Set by the machine.
  var wake: () -> Void = {}
  /// Where to write down what the CPU does. Changes while that rests.
  var trace: ExecutionTrace?

  init(
    _ bench: Workbench, _ fabric: InterruptFabric, _ apic: LocalAPIC, _ coprocessorError: CoprocessorErrorLatch
  ) {
    lock = bench.lock
    ports = bench.ports
    memory = bench.memory
    clock = bench.clock
    requests = bench.requests
    self.coprocessorError = coprocessorError
    self.fabric = fabric
    self.apic = apic
    index = apic.index
    super.init()
  }

  /// Sends the local APIC's outputs to the CPU. Called once `cpu` is set.
  func connect() {
    apic.onInterrupt = { [unowned self] level in
      if level { post(VM_PENDING_INTERRUPT) } else { cpu.withdraw(UInt32(VM_PENDING_INTERRUPT)) }
    }
    apic.onNMI = { [unowned self] in
      cpu.signalNMI()
      wake()
    }
    apic.onINIT = { [unowned self] in post(VM_PENDING_INIT) }
    apic.onSIPI = { [unowned self] vector in
      cpu.s.pointee.startup_vector = UInt32(vector)
      post(VM_PENDING_SIPI)
    }
  }

  private func post(_ bit: Int) { post(UInt32(bit)) }
  func post(_ bits: UInt32) {
    cpu.post(bits)
    wake()
  }

  // MARK: Bus cycles

  override func readPort(_ port: UInt16, size: Int) -> UInt32 {
    let value = lock.withLock { ports.read(port, size: size) }
    trace?.port(cpu, port, size: size, value: value, isWrite: false)
    return value
  }

  override func writePort(_ port: UInt16, size: Int, value: UInt32) {
    trace?.port(cpu, port, size: size, value: value, isWrite: true)
    lock.withLock { ports.write(port, size: size, value: value) }
  }

  override func readIO(_ physical: UInt64, size: Int) -> UInt64 {
    let value = lock.withLock {
      fabric.currentCPU = index
      return memory.readIO(physical, size: size)
    }
    trace?.memory(cpu, physical, size: size, value: value, isWrite: false)
    return value
  }

  override func writeIO(_ physical: UInt64, size: Int, value: UInt64) {
    trace?.memory(cpu, physical, size: size, value: value, isWrite: true)
    lock.withLock {
      fabric.currentCPU = index
      memory.writeIO(physical, size: size, value: value)
    }
  }

  // MARK: What is traced

  override func willExecute() { trace?.execute(cpu) }

  override func willDeliver(_ vector: UInt8, errorCode: UInt32?, isExternal: Bool) {
    trace?.deliver(cpu, vector, errorCode, isExternal: isExternal)
  }

  // MARK: Interrupts and time

  override func acknowledgeInterrupt() -> UInt8? {
    lock.withLock {
      let vector = apic.acknowledge()
      if vector == nil { cpu.withdraw(UInt32(VM_PENDING_INTERRUPT)) }
      return vector
    }
  }

  override var taskPriority: UInt8 {
    get { lock.withLock { apic.taskPriority } }
    set { lock.withLock { apic.taskPriority = newValue } }
  }

  override func apicBaseChanged(_ value: UInt64) { lock.withLock { apic.setBase(value) } }

  override func readX2APIC(_ msr: UInt32) -> UInt64? { lock.withLock { apic.readMSR(msr) } }
  override func writeX2APIC(_ msr: UInt32, _ value: UInt64) -> Bool { lock.withLock { apic.writeMSR(msr, value) } }

  override func timeStampCounter() -> UInt64 { clock.now }

  override func tripleFault() { requests.send(.tripleFault) }

  override func floatingPointError() { lock.withLock { coprocessorError.raise() } }

  override func log(_ message: String) { requests.log(message) }
}
