/// Is told what each piece of a block's host code is for as it is emitted. Ordinary translations have none.
final class CodeObserver {
  /// What a piece is for. Numbers are those of guest instructions in the block.
  enum Purpose: Equatable {
    case entry
    case instruction(Int)
    /// The same of the second body of a loop, which it stays in.
    case loopEntry
    case loop(Int)
    /// The same where the accesses of many turns have been checked at once, and that check.
    case stridedEntry
    case strided(Int)
    case strideCheck
    /// The way on behind a block that does not end with a branch.
    case end
    /// The interpreter's turn at an instruction whose inline code cannot go on.
    case miss(Int)
    /// A target that is not the one of last time.
    case cacheMiss(Int)
    /// A target that the jump cache does not hold.
    case indirectMiss(Int)
    /// A branch within a region on its way to another instruction of it, or out.
    case approach(Int)
    case departure(Int)
    /// What checks each access by itself, where those checked together lie in two pages.
    case careful(Int)
    /// Vector or x87 registers are to be loaded.
    case load(Int)
    /// A branch to an offset from the page's start, not linked.
    case leave(Int)
    /// Something is pending, or the budget is used up.
    case refusal

    /// Whether it lies on the straight path.
    var isInline: Bool {
      switch self {
      case .entry, .instruction, .end: true
      default: false
      }
    }
  }

  struct Mark {
    var purpose: Purpose
    var start: UnsafeMutablePointer<UInt8>
  }

  private(set) var marks: [Mark] = []

  /// The block is emitted anew.
  func restart() { marks.removeAll() }

  /// The code from `start` on is for `purpose`.
  func mark(_ purpose: Purpose, _ start: UnsafeMutablePointer<UInt8>) {
    marks.append(Mark(purpose: purpose, start: start))
  }
}
