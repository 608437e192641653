/// What the translator has done: for `debugvm NAME statistics` and tests.
public struct TranslatorStatistics: Equatable, Sendable {
  /// Blocks translated since power-on.
  public var blocks = 0
  /// Those of them that are regions: several blocks as one.
  public var regions = 0
  /// Those that are loops whose accesses are checked for many turns at once.
  public var stridedLoops = 0
  /// Guest instructions that were translated.
  public var instructions = 0
  /// Bytes of host code that were emitted.
  public var bytes = 0
  /// Blocks whose code the verifier has accepted.
  public var verifiedBlocks = 0
  /// Blocks whose code the verifier has refused; they are interpreted.
  public var refusedBlocks = 0
  /// What was refused last.
  public var lastRefusal: CodeRefusal?
  /// Times all code was dropped, with what it was decoded from.
  public var flushes = 0
  /// Times the oldest part of the code made room for new.
  public var evictions = 0
  /// Blocks whose code gave way to others'.
  public var evictedBlocks = 0
  /// The longest that the guest stood still for one of those times, in nanoseconds.
  public var longestEviction: UInt64 = 0
  /// Times emitted code was entered.
  public var entries = 0
  /// Ways out of emitted code because a branch was not linked yet.
  public var linkExits = 0
  /// Ways out because the jump cache did not know a target.
  public var indirectExits = 0
  /// Ways out at a block's entry: an interrupt or the end of the budget.
  public var entryExits = 0
  /// Ways out for an instruction that the interpreter runs.
  public var stepExits = 0
  /// Instructions that emitted code had interpreted: TLB misses, and what is not translated.
  public var steps = 0
  /// Indirect branches that led to so many places that they have no inline cache any more.
  public var wanderers = 0
  /// Blocks run by the interpreter between.
  public var interpretedBlocks = 0
}
