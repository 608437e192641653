import CHost

/// What a CPU sees of the board: its bus and its pins. Machine subclasses it and joins it to the devices; the methods
/// are called from the CPU's thread, without the machine lock, which the subclass takes.
///
/// A base class and not a protocol: calls through it are plain virtual calls.
open class CPUEnvironment {
  public init() {}

  open func readPort(_ port: UInt16, size: Int) -> UInt32 { size == 4 ? .max : (1 << UInt32(size * 8)) - 1 }
  open func writePort(_ port: UInt16, size: Int, value: UInt32) {}
  /// A read of `size` (1, 2, 4, 8) bytes where `PhysicalMemory.target` has no host address. Does not cross a page.
  open func readIO(_ physical: UInt64, size: Int) -> UInt64 { .max }
  /// A board without memory-mapped devices: the write is lost.
  open func writeIO(_ physical: UInt64, size: Int, value: UInt64) {}

  /// The interrupt acknowledge cycle: the vector to deliver, or nil when the request went away. Clears
  /// VM_PENDING_INTERRUPT unless another interrupt waits.
  open func acknowledgeInterrupt() -> UInt8? { nil }
  /// CR8: the upper four bits of the local APIC's task priority.
  open var taskPriority: UInt8 {
    get { 0 }
    set {}
  }
  /// IA32_APIC_BASE was written.
  open func apicBaseChanged(_ value: UInt64) {}
  /// An access to an x2APIC MSR (0x800-0x8ff): nil raises #GP.
  open func readX2APIC(_ msr: UInt32) -> UInt64? { nil }
  /// A board without x2APIC: the guest gets a general-protection fault.
  open func writeX2APIC(_ msr: UInt32, _ value: UInt64) -> Bool { false }

  /// Ticks of the time stamp counter since power-on at the machine's TSC frequency, before the guest's own offset.
  open func timeStampCounter() -> UInt64 { 0 }
  /// A triple fault: the board resets the machine.
  open func tripleFault() {}
  /// FERR#: an unmasked x87 error with CR0.NE clear raises IRQ 13.
  open func floatingPointError() {}
  /// The CPU is about to run its next instruction. Called while `CPU.tracesInstructions` alone.
  open func willExecute() {}
  /// The CPU is about to deliver an exception, a software interrupt, or an interrupt from outside.
  open func willDeliver(_ vector: UInt8, errorCode: UInt32?, isExternal: Bool) {}
  /// Something worth a line in the machine's log.
  open func log(_ message: String) {}
}
