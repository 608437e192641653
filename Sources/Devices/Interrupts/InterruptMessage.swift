/// How a message is delivered (Intel SDM vol. 3A, 11.6.1; 82093AA data sheet, 3.2.4).
public enum DeliveryMode: UInt8, Sendable {
  case fixed = 0
  case lowestPriority = 1
  case smi = 2
  case nmi = 4
  case initialise = 5
  case startUp = 6
  case external = 7
}

/// One message on the APIC bus, from an I/O APIC, a local APIC's ICR, or a device's message-signalled interrupt.
public struct InterruptMessage: Equatable, Sendable {
  /// The APIC ID, or a set of logical destinations, that it goes to.
  public var destination: UInt32
  /// Logical destination mode; otherwise physical.
  public var logical: Bool
  /// How it is delivered, and to how many.
  public var mode: DeliveryMode
  /// The interrupt vector; of no meaning for NMI, SMI and INIT.
  public var vector: UInt8
  /// Level-triggered: it asks for an end of interrupt.
  public var level: Bool

  public init(destination: UInt32, logical: Bool, mode: DeliveryMode, vector: UInt8, level: Bool) {
    self.destination = destination
    self.logical = logical
    self.mode = mode
    self.vector = vector
    self.level = level
  }
}
