/// What of a machine's execution is to be written down.
public struct TraceRequest: Codable, Equatable, Sendable {
  /// Kinds of events.
  public enum Kind: String, Codable, CaseIterable, Sendable {
    /// Each instruction, before it runs. The guest is slow meanwhile.
    case instructions
    /// Exceptions and software interrupts.
    case exceptions
    /// Interrupts from outside, and NMIs.
    case interrupts
    /// Accesses to I/O ports.
    case ports
    /// Accesses to the registers of devices in memory.
    case mmio
  }

  /// Which.
  public var kinds: Set<Kind>
  /// Linear addresses of the instructions that are written down, or that cause what is; nil: all.
  public var addresses: ClosedRange<UInt64>?
  /// Lines after which it ends.
  public var limit: Int?

  /// A trace of everything of these kinds.
  public init(_ kinds: Set<Kind>, addresses: ClosedRange<UInt64>? = nil, limit: Int? = nil) {
    self.kinds = kinds
    self.addresses = addresses
    self.limit = limit
  }
}

/// How a trace has ended.
public struct TraceEnd: Equatable, Sendable {
  /// Lines that were written.
  public var lines: Int
  /// The system's error number when its file could not be written.
  public var failure: Int32?
}
