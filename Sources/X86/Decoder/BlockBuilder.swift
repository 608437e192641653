import CHost
import GuestMemory

/// Decodes blocks: straight runs of instructions within one page, up to a transfer of control.
extension CPU {
  /// The block at `linear`, decoded if need be. `entry` is the execute translation of its page.
  @inline(never)
  func makeBlock(
    _ linear: UInt64, rip: UInt64, mode: UInt32, entry: UnsafeMutablePointer<vm_fetch_entry>
  ) throws(GuestFault) -> UnsafeMutablePointer<vm_block> {
    if code.isStop(Int(linear & 0xfff)) { return stopBlock(linear, mode) }
    let host = entry.pointee.host
    guard host != 0, !startsCrossing(linear, mode, host) else { return try scratchBlock(linear, rip: rip, mode: mode) }
    if !code.hasRoom { flushCode() }
    let page = code.page(host: host)
    entry.pointee.page = UnsafeMutableRawPointer(page)
    let start = Int(linear & 0xfff)
    if let known = page.find(start, mode) { return known }
    // Before the first byte is read, so that no store after that goes unseen.
    claim(page, entry.pointee.physical)

    let block = code.nextBlock()
    let ops = block.ops
    var run = DecodedRun()
    code.decodeRun(&run, host: host, start: start, mode: mode, into: ops)
    if run.count == 0 {
      if page.pointee.isEmpty { code.release(page) }
      return try scratchBlock(linear, rip: rip, mode: mode)
    }
    CPU.dropDeadFlags(ops, run.count)
    enter(block, run, page, start: start, mode: mode)
    if page.pointee.takeHot(start) { block.pointee.heat = translationThreshold }
    return block
  }

  /// Enters a block or region whose instructions are in place.
  func enter(
    _ block: UnsafeMutablePointer<vm_block>, _ run: DecodedRun, _ page: UnsafeMutablePointer<CodePage>, start: Int,
    mode: UInt32
  ) {
    block.initialize(to: vm_block())
    block.pointee.mode = mode
    block.pointee.start = UInt16(start)
    block.pointee.bytes = UInt16(run.bytes)
    block.pointee.count = UInt16(run.count)
    let ended = CPU.endsBlock(OpKind(trusted: block.ops[run.count - 1].kind))
    finishBlock(block.ops, run.count, run.bytes, ended)
    code.enter(block, page: page, cells: ended ? run.count : run.count + 1)
  }

  /// In the place of a block that would begin with a debugger's breakpoint: one that is left before its first instruction,
  /// which then runs alone, if the CPU does not stop there.
  private func stopBlock(_ linear: UInt64, _ mode: UInt32) -> UnsafeMutablePointer<vm_block> {
    post(UInt32(VM_PENDING_DEBUG))
    let block = code.scratch
    block.pointee.mode = mode
    block.pointee.start = UInt16(linear & 0xfff)
    block.pointee.bytes = 1
    block.pointee.count = 1
    var op = vm_op()
    op.kind = OpKind.leave.rawValue
    block.ops.initialize(to: op)
    finishBlock(block.ops, 1, 1, true)
    return block
  }

  /// Says that this CPU is going to hold code of the page, unless it has already.
  @inline(__always)
  func claim(_ page: UnsafeMutablePointer<CodePage>, _ physical: UInt64) {
    guard !page.pointee.isClaimed && page.pointee.ramPage >= 0 else { return }
    page.pointee.isClaimed = true
    claimCode(ramPage: page.pointee.ramPage, physical: physical & ~0xfff)
  }

  func finishBlock(_ ops: UnsafeMutablePointer<vm_op>, _ count: Int, _ position: Int, _ ended: Bool) {
    var cell = count
    if !ended {
      var op = vm_op()
      op.kind = OpKind.fallThrough.rawValue
      op.offset = UInt16(position)
      op.imm = Int64(position)
      op.disp = -1
      (ops + cell).initialize(to: op)
      cell += 1
    }
    (ops + cell).initialize(to: vm_op())
  }

  /// A block of one instruction that is not kept: single steps, instructions that cross a page (the mapping of the
  /// second page may change under the first), code outside RAM and ROM.
  @inline(never)
  func scratchBlock(_ linear: UInt64, rip: UInt64, mode: UInt32) throws(GuestFault) -> UnsafeMutablePointer<vm_block> {
    let block = code.scratch
    let op = block.ops
    var bytes = InstructionBytes()
    let offset = Int(linear & 0xfff)
    let available = min(15, 4096 - offset)
    try fetchBytes(linear, into: &bytes, from: 0, count: available)
    let known = available < 15 && code.crossing.matches(offset, mode, bytes)
    var status = known ? .needsMoreBytes : decodeScratch(op, bytes, available, mode)
    if status == .needsMoreBytes && available < 15 {
      // The limit comes before the paging of what lies beyond it.
      if mode & UInt32(VM_MODE_CODE64) == 0, rip &+ UInt64(available) > UInt64(s.pointee.segments.1.limit) {
        throw .protection(0)
      }
      try fetchBytes(linear &+ UInt64(available), into: &bytes, from: available, count: 15 - available)
      if known && bytes.prefix(Int(code.crossing.op.length)) == code.crossing.bytes {
        op.initialize(to: code.crossing.op)
        status = .complete
      } else {
        status = decodeScratch(op, bytes, 15, mode)
        if status == .complete {
          let kept = bytes.prefix(Int(op.pointee.length))
          code.crossing = CrossingInstruction(mode: mode, offset: offset, bytes: kept, op: op.pointee)
        }
      }
    }
    if status != .complete {
      op.pointee.kind = OpKind.tooLong.rawValue
      op.pointee.length = 1
    }
    block.pointee.mode = mode
    block.pointee.start = UInt16(offset)
    block.pointee.bytes = UInt16(op.pointee.length)
    block.pointee.count = 1
    finishBlock(op, 1, Int(op.pointee.length), CPU.endsBlock(OpKind(trusted: op.pointee.kind)))
    if mode & UInt32(VM_MODE_CODE64) == 0 {
      let last = rip &+ UInt64(op.pointee.length) &- 1
      if last > UInt64(s.pointee.segments.1.limit) { throw .protection(0) }
    }
    return block
  }

  /// Whether the instruction there is the one that crossed a page last, as far as its first page tells.
  @inline(__always)
  private func startsCrossing(_ linear: UInt64, _ mode: UInt32, _ host: UInt64) -> Bool {
    let offset = Int(linear & 0xfff)
    guard offset == code.crossing.offset, mode == code.crossing.mode else { return false }
    var bytes = InstructionBytes()
    for index in 0..<4096 - offset {
      bytes[index] = CPU.host(host).load(fromByteOffset: offset + index, as: UInt8.self)
    }
    return code.crossing.matches(offset, mode, bytes)
  }

  private func decodeScratch(
    _ op: UnsafeMutablePointer<vm_op>, _ bytes: InstructionBytes, _ available: Int, _ mode: UInt32
  ) -> DecodeStatus {
    withUnsafeBytes(of: bytes) { raw in
      let bytes = raw.baseAddress!.assumingMemoryBound(to: UInt8.self)
      var decoder = Decoder(bytes: bytes, available: available, mode: mode, blockOffset: 0)
      let status = decoder.decode()
      op.initialize(to: decoder.op)
      return status
    }
  }

  /// Code bytes of one page, also where there is only a device.
  private func fetchBytes(
    _ address: UInt64, into bytes: inout InstructionBytes, from: Int, count: Int
  ) throws(GuestFault) {
    let linear = dataLinear(address)
    let entry = try fetchEntry(linear)
    let offset = Int(linear & 0xfff)
    for index in 0..<count {
      let value: UInt8
      if entry.pointee.host != 0 {
        value = CPU.host(entry.pointee.host).load(fromByteOffset: offset + index, as: UInt8.self)
      } else {
        let physical = entry.pointee.physical & ~0xfff + UInt64(offset + index)
        value = UInt8(truncatingIfNeeded: environment.readIO(physical, size: 1))
      }
      bytes[from + index] = value
    }
  }

  // MARK: What the kinds mean for a block

  static func endsBlock(_ kind: OpKind) -> Bool {
    switch kind {
    case .undefined, .tooLong, .system: true
    default: kind.rawValue >= OpKind.jo.rawValue && kind.rawValue <= OpKind.jcxz.rawValue
    }
  }

  @inline(__always)
  static func setsInterrupts(_ op: vm_op) -> Bool {
    op.kind == OpKind.system.rawValue && op.sub == SystemOp.sti.rawValue
  }

  /// Turns instructions whose flags nobody can see into their flagless kinds. An instruction that may fault or leave
  /// the block shows all flags.
  static func dropDeadFlags(_ ops: UnsafeMutablePointer<vm_op>, _ count: Int) {
    var live = true
    for index in stride(from: count - 1, through: 0, by: -1) {
      let op = ops + index
      let raw = op.pointee.kind
      switch OpKind(trusted: raw) {
      case .addRR32, .addRR64, .addRI32, .addRI64:
        if !live { op.pointee.kind = raw - OpKind.addRR32.rawValue + OpKind.addRR32n.rawValue }
        live = false
      case .orRR32, .orRR64, .orRI32, .orRI64:
        if !live { op.pointee.kind = raw - OpKind.orRR32.rawValue + OpKind.orRR32n.rawValue }
        live = false
      case .andRR32, .andRR64, .andRI32, .andRI64:
        if !live { op.pointee.kind = raw - OpKind.andRR32.rawValue + OpKind.andRR32n.rawValue }
        live = false
      case .subRR32, .subRR64, .subRI32, .subRI64:
        if !live { op.pointee.kind = raw - OpKind.subRR32.rawValue + OpKind.subRR32n.rawValue }
        live = false
      case .xorRR32, .xorRR64, .xorRI32, .xorRI64:
        if !live { op.pointee.kind = raw - OpKind.xorRR32.rawValue + OpKind.xorRR32n.rawValue }
        live = false
      case .shlRI32, .shlRI64, .shrRI32, .shrRI64, .sarRI32, .sarRI64:
        if !live { op.pointee.kind = raw - OpKind.shlRI32.rawValue + OpKind.shlRI32n.rawValue }
        live = false
      case .zero32:
        if !live {
          op.pointee.kind = OpKind.movRI32.rawValue
          op.pointee.imm = 0
        }
        live = false
      case .cmpRR32, .cmpRR64, .cmpRI32, .cmpRI64, .cmpRR8, .cmpRI8, .testRR32, .testRR64, .testRI32, .testRI64,
        .testRR8, .testRI8:
        if !live { op.pointee.kind = OpKind.nop.rawValue }
        live = false
      case .inc32, .inc64, .dec32, .dec64:
        if !live {
          let wide = op.pointee.operand_size == 8
          op.pointee.imm = raw >= OpKind.dec32.rawValue ? -1 : 1
          op.pointee.kind = (wide ? OpKind.addRI64n : OpKind.addRI32n).rawValue
        }
      case .nop, .movRR32, .movRR64, .movRI32, .movRI64, .movRR8, .movRI8, .movRR16, .movRI16, .movzxR8, .movzxR16,
        .movsxR8, .movsxR16, .movsxdR, .lea32, .lea64, .lea16, .addRR32n, .bswap, .cbw, .cwd:
        break
      default: live = true
      }
    }
  }

  /// Whether nobody sees the arithmetic flags that hold before instruction `first`: they are written before an instruction
  /// that reads them, may fault or leaves the block.
  static func flagsAreDead(_ ops: UnsafeMutablePointer<vm_op>, from first: Int, count: Int) -> Bool {
    for index in first..<count {
      switch OpKind(trusted: ops[index].kind) {
      case .addRR32, .addRR64, .addRI32, .addRI64, .orRR32, .orRR64, .orRI32, .orRI64, .andRR32, .andRR64, .andRI32,
        .andRI64, .subRR32, .subRR64, .subRI32, .subRI64, .xorRR32, .xorRR64, .xorRI32, .xorRI64, .shlRI32, .shlRI64,
        .shrRI32, .shrRI64, .sarRI32, .sarRI64, .zero32, .cmpRR32, .cmpRR64, .cmpRI32, .cmpRI64, .cmpRR8, .cmpRI8,
        .testRR32, .testRR64, .testRI32, .testRI64, .testRR8, .testRI8:
        return true
      case .nop, .movRR32, .movRR64, .movRI32, .movRI64, .movRR8, .movRI8, .movRR16, .movRI16, .movzxR8, .movzxR16,
        .movsxR8, .movsxR16, .movsxdR, .lea32, .lea64, .lea16, .addRR32n, .addRR64n, .addRI32n, .addRI64n, .orRR32n,
        .orRR64n, .orRI32n, .orRI64n, .andRR32n, .andRR64n, .andRI32n, .andRI64n, .subRR32n, .subRR64n, .subRI32n,
        .subRI64n, .xorRR32n, .xorRR64n, .xorRI32n, .xorRI64n, .shlRI32n, .shlRI64n, .shrRI32n, .shrRI64n, .sarRI32n,
        .sarRI64n, .bswap, .cbw, .cwd:
        break
      default: return false
      }
    }
    return false
  }

  // MARK: Dropping

  /// Drops all decoded code.
  func flushCode() {
    code.reset()
    for index in 0..<(VM_MMU_COUNT * Int(VM_FETCH_SIZE)) { fetchTLBs[index].page = nil }
  }
}

/// What has been decoded of a block.
struct DecodedRun {
  var count = 0
  var bytes = 0
  /// It ended because no more instructions fit.
  var isCut = false
}

extension CodeCache {
  /// Decodes on behind `run`, up to where a block ends.
  ///
  /// - Parameter host: host address of the page, at whose offset `start` the block begins.
  func decodeRun(
    _ run: inout DecodedRun, host: UInt64, start: Int, mode: UInt32, into ops: UnsafeMutablePointer<vm_op>
  ) {
    let bytes = UnsafeRawPointer(CPU.host(host)).assumingMemoryBound(to: UInt8.self) + start
    let available = 4096 - start
    var ended = false
    var shadowed = false
    while !ended && run.bytes < available {
      if run.count == Self.blockLimit {
        run.isCut = true
        return
      }
      if hasStops && isStop(start + run.bytes) { return }
      var decoder = Decoder(
        bytes: bytes + run.bytes, available: available - run.bytes, mode: mode, blockOffset: run.bytes)
      let status = decoder.decode()
      if status == .needsMoreBytes { return }
      var op = decoder.op
      if status == .tooLong {
        op.kind = OpKind.tooLong.rawValue
        op.length = 1
      }
      (ops + run.count).initialize(to: op)
      run.count += 1
      run.bytes += Int(op.length)
      // The instruction that STI holds interrupts off for follows in its block.
      let setsInterrupts = CPU.setsInterrupts(op)
      ended = shadowed || (CPU.endsBlock(OpKind(trusted: op.kind)) && !setsInterrupts)
      shadowed = setsInterrupts
    }
  }
}
