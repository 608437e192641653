import CHost

/// A conditional branch within a region that leaves it.
struct Departure {
  var site: UnsafeMutablePointer<UInt8>
  /// Of the target, from the page's start.
  var offset: Int
  var index: Int
  var isSecondBody: Bool
  var flags: FlagPlaces
  var recipe: FlagRecipe
}

/// A conditional branch to a later instruction of the region, and what holds at the branch.
struct Approach {
  var site: UnsafeMutablePointer<UInt8>
  var index: Int
  /// The instruction that it leads to, and where its code is once that is known.
  var target: Int
  var label: UnsafeMutablePointer<UInt8>?
  var isSecondBody: Bool
  var flags: FlagPlaces
  var recipe: FlagRecipe
  /// Whether the flags are to be in RAX at the target; else nobody sees them there.
  var wantsFlags = true
  var versions: RegisterVersions
  var alignments: Int
  var hasVectors: Bool
  var hasX87: Bool
}

/// Branches within a region. On the way that goes on the host's flags stay what they are; what it takes to leave lies out
/// of line. Where ways meet, what holds on all of them holds on.
extension BlockTranslator {
  /// The instruction of the region that the branch `op` leads to, which lies behind it; nil when it leaves.
  private func target(within op: Op, _ index: Int) -> Int? {
    guard op.pointee.imm > 0, op.pointee.imm < Int64(block.pointee.bytes) else { return nil }
    return (index + 1..<Int(block.pointee.count)).first { Int64(ops[$0].offset) == op.pointee.imm }
  }

  mutating func branchWithin(_ op: Op) {
    endStackRun()
    noteLastX87()
    let condition = UInt8(truncatingIfNeeded: op.pointee.kind - OpKind.jo.rawValue)
    requireFlags(for: condition)
    let site = a.jumpIf(condition)
    if let target = target(within: op, index) {
      approaches.append(
        Approach(
          site: site, index: index, target: target, label: nil, isSecondBody: isSecondBody, flags: flags,
          recipe: recipe, versions: versions, alignments: alignments.count, hasVectors: hasVectors, hasX87: hasX87))
    } else {
      let offset = Int(block.pointee.start) + Int(op.pointee.imm)
      departures.append(
        Departure(
          site: site, offset: offset, index: index, isSecondBody: isSecondBody, flags: flags, recipe: recipe))
    }
  }

  /// Before the code of instruction `index`, where ways meet: what may be pending is done, and flags are in RAX unless
  /// nobody sees them. Returns whether somebody does.
  mutating func meetWays() -> Bool {
    endStackRun()
    noteLastX87()
    let wantsFlags = !CPU.flagsAreDead(ops, from: index, count: Int(block.pointee.count))
    if wantsFlags { flagsToAccumulator() }
    flags = wantsFlags ? .rax : []
    stored = nil
    return wantsFlags
  }

  /// Before the code of instruction `index`: branches that lead there arrive.
  mutating func meetApproaches() {
    func arrives(_ each: Approach) -> Bool { each.target == index && each.label == nil }
    guard approaches.contains(where: arrives) else { return }
    let wantsFlags = meetWays()
    for each in approaches.indices where arrives(approaches[each]) {
      let approach = approaches[each]
      approaches[each].label = a.cursor
      approaches[each].wantsFlags = wantsFlags
      versions.meet(approach.versions)
      alignments.removeLast(max(0, alignments.count - approach.alignments))
      hasVectors = hasVectors && approach.hasVectors
      hasX87 = hasX87 && approach.hasX87
    }
  }

  /// Whether a branch before `instruction` may lead past it, to `later` or before that.
  func mayBeSkipped(_ instruction: Int, before later: Int) -> Bool {
    guard block.isRegion else { return false }
    return (0..<instruction).contains { index in
      guard CPU.isConditionalJump(ops + index), let target = target(within: ops + index, index) else { return false }
      return target > instruction && target <= later
    }
  }

  /// What lies out of line.
  mutating func emitRegionBranches() {
    for each in approaches {
      guard let label = each.label else { continue }
      let needsFlags = each.wantsFlags && !each.flags.contains(.rax)
      guard needsFlags || translator.counts else {
        Assembler.patch(each.site, label)
        continue
      }
      observer?.mark(.approach(each.index), a.cursor)
      takeHomes(inSecondBody: each.isSecondBody)
      Assembler.patch(each.site, a.cursor)
      if each.wantsFlags { emitFlags(atBranch: each.flags, each.recipe) }
      if translator.counts { a.arithmetic(0, StateField.budget, Int64(each.target - each.index - 1), size: 8) }
      a.jump(to: label)
    }
    for each in departures {
      observer?.mark(.departure(each.index), a.cursor)
      takeHomes(inSecondBody: each.isSecondBody)
      Assembler.patch(each.site, a.cursor)
      emitFlags(atBranch: each.flags, each.recipe)
      if translator.counts {
        a.arithmetic(0, StateField.budget, Int64(Int(block.pointee.count) - each.index - 1), size: 8)
      }
      flags = .rax
      index = each.index
      leave(to: each.offset)
    }
  }
}
