import CHost

/// A conditional branch within a region, and where the flags are at it.
struct RegionBranch {
  var site: UnsafeMutablePointer<UInt8>
  var index: Int
  var body: CodeBody
  var flags: FlagPlaces
  var recipe: FlagRecipe
}

/// One that leaves the region.
struct Departure {
  var branch: RegionBranch
  /// Of the target, from the page's start.
  var offset: Int
}

/// One that leads to a later instruction of the region, and what else holds at it.
struct Approach {
  var branch: RegionBranch
  /// The instruction that it leads to, and where its code is once that is known.
  var target: Int
  var label: UnsafeMutablePointer<UInt8>?
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
    let branch = RegionBranch(
      site: a.jumpIf(condition), index: index, body: body, flags: flags, recipe: recipe)
    if let target = target(within: op, index) {
      approaches.append(
        Approach(
          branch: branch, target: target, label: nil, versions: versions, alignments: alignments.count,
          hasVectors: hasVectors, hasX87: hasX87))
    } else {
      departures.append(Departure(branch: branch, offset: targetOffset(op)))
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

  /// The instructions that branches may lead past, without leaving the region.
  func skippedRanges() -> [Range<Int>] {
    guard block.isRegion else { return [] }
    return (0..<Int(block.pointee.count)).compactMap { index in
      guard CPU.isConditionalJump(ops + index), let target = target(within: ops + index, index) else { return nil }
      return index + 1..<target
    }
  }

  /// What lies out of line.
  mutating func emitRegionBranches() {
    for each in approaches {
      guard let label = each.label else { continue }
      let needsFlags = each.wantsFlags && !each.branch.flags.contains(.rax)
      guard needsFlags || translator.counts else {
        Assembler.patch(each.branch.site, label)
        continue
      }
      observer?.mark(.approach(each.branch.index), a.cursor)
      emitWay(of: each.branch, to: each.target, wantsFlags: each.wantsFlags)
      a.jump(to: label)
    }
    for each in departures {
      observer?.mark(.departure(each.branch.index), a.cursor)
      emitWay(of: each.branch, to: Int(block.pointee.count), wantsFlags: true)
      flags = .rax
      index = each.branch.index
      leave(to: each.offset)
    }
  }

  /// The beginning of a way out of line that goes on at instruction `target`, or behind the last.
  private mutating func emitWay(of branch: RegionBranch, to target: Int, wantsFlags: Bool) {
    enter(branch.body)
    Assembler.patch(branch.site, a.cursor)
    if wantsFlags { emitFlags(atBranch: branch.flags, branch.recipe) }
    giveBack(target - branch.index - 1)
  }
}
