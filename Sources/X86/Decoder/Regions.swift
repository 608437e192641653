import CHost

/// Regions: blocks that lie behind each other in memory, joined at the conditional branches between them, for the
/// translator. Only the first can be entered, each branch may leave, and one that leads forward to an instruction of the
/// region stays within. So most inner loops are one piece of code, however many conditions they have.
///
/// Interrupts and budgets may stop the interpreter at each block's end. A region stops at the same places, so that both
/// accelerators take an interrupt that the guest's own access has caused before the same instruction.
extension CPU {
  /// Times that a region is made anew of the same block after its bytes were overwritten.
  private static let regionPatience: UInt8 = 3

  /// The region that begins with `block`, about to be translated; nil when the blocks behind it are seldom run, or there
  /// are none.
  func makeRegion(_ block: UnsafeMutablePointer<vm_block>) -> UnsafeMutablePointer<vm_block>? {
    guard let record = block.pointee.page, block.pointee.heat < translationThreshold &+ Self.regionPatience,
      Self.mayGoOn(behind: block.ops + (Int(block.pointee.count) - 1)), code.hasRoom
    else { return nil }
    let page = record.assumingMemoryBound(to: CodePage.self)
    let start = Int(block.pointee.start)
    let mode = block.pointee.mode
    let region = code.nextBlock()
    let ops = region.ops
    ops.update(from: block.ops, count: Int(block.pointee.count))
    var run = DecodedRun(count: Int(block.pointee.count), bytes: Int(block.pointee.bytes))
    var kept = run
    while Self.mayGoOn(behind: ops + (run.count - 1)) {
      let target = Int(ops[run.count - 1].imm)
      let isHot = isHot(page, start + run.bytes, mode)
      code.decodeRun(&run, host: page.pointee.host, start: start, mode: mode, into: ops)
      guard run.count > kept.count, !run.isCut else { break }
      if !isHot {
        // What is skipped mostly is taken along when it is short and what follows it is hot.
        let reaches = (kept.count + 1..<run.count).contains { Int(ops[$0].offset) == target }
        guard reaches, self.isHot(page, start + target, mode) else { break }
      }
      CPU.dropDeadFlags(ops + kept.count, run.count - kept.count)
      kept = run
    }
    guard kept.count > Int(block.pointee.count) else { return nil }
    block.pointee.heat &+= 1
    enter(region, kept, page, start: start, mode: mode | UInt32(VM_BLOCK_REGION))
    region.pointee.heat = translationThreshold
    return region
  }

  /// Whether what follows a block's last instruction may belong to its region: behind a conditional branch, but not one
  /// that ends a loop over the region.
  private static func mayGoOn(behind last: Op) -> Bool { isConditionalJump(last) && last.pointee.imm != 0 }

  /// A Jcc whose target can be told without cutting RIP to 16 bits.
  @inline(__always)
  static func isConditionalJump(_ op: Op) -> Bool {
    op.pointee.kind >= OpKind.jo.rawValue && op.pointee.kind <= OpKind.jg.rawValue && op.pointee.disp != 0xffff
  }

  /// Whether the block there has been run about as often as one that is translated.
  private func isHot(_ page: UnsafeMutablePointer<CodePage>, _ offset: Int, _ mode: UInt32) -> Bool {
    if translationThreshold == 0 { return true }
    guard offset < 4096, let known = page.find(offset, mode) else { return false }
    return known.pointee.heat >= translationThreshold / 2
  }
}
