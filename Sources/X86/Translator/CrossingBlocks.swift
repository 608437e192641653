import CHost

/// Blocks of the one instruction that begins in one page and ends in the next. The interpreter decodes such an instruction
/// each time, since another page may follow in another address space; code for it asks the execute TLB at its entry which
/// page follows.
extension CPU {
  /// The block of the instruction at `rip` that crosses into the next page, when it has been made for the page that follows
  /// now.
  @inline(__always)
  func crossingBlock(_ rip: UInt64, _ mode: UInt32) -> UnsafeMutablePointer<vm_block>? {
    guard rip & 0xfff > 4096 - 15, let record = fetchEntry(known: rip)?.pointee.page else { return nil }
    let page = record.assumingMemoryBound(to: CodePage.self)
    guard let block = page.pointee.tail, let following = page.pointee.following,
      Int(block.pointee.start) == Int(rip & 0xfff), block.pointee.mode == mode,
      let next = fetchEntry(known: pageBehind(rip, mode)), next.pointee.host == following.pointee.host
    else { return nil }
    return block
  }

  /// Makes the block when the instruction at `rip` crosses: it has just been interpreted.
  func makeCrossingBlock(_ rip: UInt64, _ mode: UInt32) {
    let known = code.crossing
    let offset = Int(rip & 0xfff)
    guard known.offset == offset, known.mode == mode, !code.isStop(offset), crossingBlock(rip, mode) == nil,
      let entry = fetchEntry(known: rip), entry.pointee.host != 0,
      let next = fetchEntry(known: pageBehind(rip, mode)), next.pointee.host != 0, code.hasRoom
    else { return }
    let page = code.page(host: entry.pointee.host)
    guard code.hasRoom else { return }
    let following = code.page(host: next.pointee.host)
    guard page != following, code.hasRoom else { return }
    entry.pointee.page = UnsafeMutableRawPointer(page)
    // Before the bytes are read, so that no store after that goes unseen.
    claim(page, entry.pointee.physical)
    claim(following, next.pointee.physical)
    let length = Int(known.op.length)
    for index in 0..<length {
      let place = offset + index
      let host = place < 4096 ? entry.pointee.host : next.pointee.host
      let byte = CPU.host(host).load(fromByteOffset: place & 4095, as: UInt8.self)
      if byte != known.bytes[index] { return }
    }
    let block = code.nextBlock()
    block.initialize(to: vm_block())
    block.pointee.mode = mode
    block.pointee.start = UInt16(offset)
    block.pointee.bytes = UInt16(length)
    block.pointee.count = 1
    if page.pointee.takeHot(offset) { block.pointee.heat = translationThreshold }
    block.ops.initialize(to: known.op)
    let ended = CPU.endsBlock(OpKind(trusted: known.op.kind))
    finishBlock(block.ops, 1, length, ended)
    code.enterTail(block, page: page, following: following, cells: ended ? 1 : 2)
  }

  /// The page's execute translation if the TLB has it.
  @inline(__always)
  private func fetchEntry(known linear: UInt64) -> UnsafeMutablePointer<vm_fetch_entry>? {
    let slot = Int(truncatingIfNeeded: linear &>> 12) & (CPU.fetchSetSize - 1)
    let entry = s.pointee.fetch_tlb + slot
    return entry.pointee.tag == linear & ~0xfff ? entry : nil
  }

  @inline(__always)
  private func pageBehind(_ rip: UInt64, _ mode: UInt32) -> UInt64 {
    let next = (rip & ~0xfff) &+ 4096
    return isCode32(mode) ? next & 0xffff_ffff : next
  }
}

extension BlockTranslator {
  /// At the entry of a block whose instruction crosses: leaves unless the page that follows is the one it was decoded
  /// from. Returns the branches to the way out.
  mutating func requireFollowingPage() -> [UnsafeMutablePointer<UInt8>] {
    guard Int(block.pointee.start) + Int(block.pointee.bytes) > 4096,
      let following = block.pointee.page?.assumingMemoryBound(to: CodePage.self).pointee.following
    else { return [] }
    let first = GuestRegisters.first
    let second = GuestRegisters.second
    a.load(second, StateField.page)
    a.emit(0x8d, second, .at(second, 4096), size: is64 ? 8 : 4)
    a.move(first, second, size: 4)
    // 32 bytes an entry.
    a.shiftRight(first, 7, size: 4)
    a.arithmetic(4, .register(first), Int64((CPU.fetchSetSize - 1) << 5), size: 4)
    a.emit(0x03, first, StateField.fetchTLB, size: 8)
    a.emit(0x39, second, .at(first, 0), size: 8)
    let otherAddress = a.jumpIf(Condition.notEqual)
    a.moveImmediate(second, following.pointee.host)
    a.emit(0x39, second, .at(first, MemoryLayout<vm_fetch_entry>.offset(of: \.host)!), size: 8)
    return [otherAddress, a.jumpIf(Condition.notEqual)]
  }
}

extension StateField {
  static let fetchTLB = GuestRegisters.field(\.fetch_tlb)
}
