import GuestMemory

/// The APIC bus: carries messages from I/O APICs and local APICs to the local APICs they are for, and the memory window
/// through which each CPU sees its own local APIC.
///
/// Source: Intel SDM vol. 3A, 11.6 (destinations, lowest priority), 11.8.5 (end of interrupt).
public final class InterruptFabric: MemoryMappedIO {
  private var locals: [LocalAPIC] = []
  private var ioapics: [IOAPIC] = []
  private var memory: PhysicalMemory?
  private var windowBase: UInt64 = 0
  /// The CPU whose access is being served: the board sets it, under the machine lock, before it passes an access on.
  public var currentCPU = 0

  public init() {}

  /// Shows the local APICs at `base`, 4 KiB. Called again when a guest moves them.
  public func mapWindow(_ memory: PhysicalMemory, base: UInt64 = 0xFEE0_0000) {
    guard base != windowBase else { return }
    if windowBase != 0 { memory.unmap(name: "lapic") }
    self.memory = memory
    windowBase = base
    memory.mapIO(self, name: "lapic", start: base, length: 0x1000)
  }

  func connect(_ apic: LocalAPIC) {
    precondition(apic.index == locals.count, "local APICs are made in the order of their CPUs")
    locals.append(apic)
  }

  func connect(_ ioapic: IOAPIC) { ioapics.append(ioapic) }

  /// Forgets the controllers, which know their fabric, for good.
  public func disconnectAll() {
    locals = []
    ioapics = []
    memory = nil
  }

  func windowMoved(to base: UInt64) {
    if let memory { mapWindow(memory, base: base) }
  }

  // MARK: Messages

  /// Delivers to every local APIC the message addresses; a lowest-priority message to one of them.
  public func deliver(_ message: InterruptMessage) {
    if message.mode == .lowestPriority {
      var chosen: LocalAPIC?
      var least: UInt8 = 255
      for apic in locals where apic.isEnabled && apic.matches(message.destination, logical: message.logical) {
        let priority = apic.processorPriority
        if chosen == nil || priority < least {
          chosen = apic
          least = priority
        }
      }
      chosen?.accept(message)
      return
    }
    for apic in locals where apic.matches(message.destination, logical: message.logical) { apic.accept(message) }
  }

  /// Delivers to all, with or without the sender (the ICR's shorthands).
  func broadcast(_ message: InterruptMessage, except sender: LocalAPIC?) {
    for apic in locals where apic !== sender { apic.accept(message) }
  }

  /// A device's message-signalled interrupt: a write of `data` to `address` in 0xFEExxxxx (SDM vol. 3A, 11.11).
  public func messageSignalled(address: UInt64, data: UInt32) {
    guard let mode = DeliveryMode(rawValue: UInt8(data >> 8 & 7)) else { return }
    deliver(
      InterruptMessage(
        destination: UInt32(address >> 12 & 0xFF), logical: address & 4 != 0, mode: mode,
        vector: UInt8(truncatingIfNeeded: data), level: data & 0x8000 != 0))
  }

  func endOfInterrupt(_ vector: UInt8) {
    for ioapic in ioapics { ioapic.endOfInterrupt(vector) }
  }

  // MARK: The window

  public func readMemory(offset: UInt64, size: Int) -> UInt64 {
    guard currentCPU < locals.count, locals[currentCPU].answersMemory else { return .max }
    let value = locals[currentCPU].read(Int(offset) & 0xFF0)
    return UInt64(value) >> ((offset & 15) * 8 & 31)
  }

  public func writeMemory(offset: UInt64, size: Int, value: UInt64) {
    // Registers are 32 bits wide, on 16-byte boundaries; narrower or misaligned writes are undefined and dropped.
    guard currentCPU < locals.count, locals[currentCPU].answersMemory, offset & 15 == 0, size >= 4 else { return }
    locals[currentCPU].write(Int(offset), UInt32(truncatingIfNeeded: value))
  }
}
