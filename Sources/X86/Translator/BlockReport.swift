import CHost

/// What `debugvm NAME block` shows.
extension CPU {
  /// The blocks at `address`, or at RIP, as text: each guest instruction with the host instructions emitted for it, then
  /// what lies out of line. Called at a safe point; changes nothing that a guest could see.
  ///
  /// - Parameter address: RIP of a block's first instruction or of any byte within.
  public func blockReport(at address: UInt64?) -> String {
    let rip = address ?? s.pointee.rip
    let wide = s.pointee.mode & UInt32(VM_MODE_CODE64) != 0
    let linear = wide || isFlatCode ? rip : (s.pointee.segments.1.base &+ rip) & 0xffff_ffff
    let name = "cpu \(index)"
    guard let host = codeHost(linear) else { return "\(name): no memory at \(CodeNames.hex(rip, 16))" }
    var (exact, around) = blocks(host: host, offset: Int(linear & 0xfff))
    if exact.isEmpty {
      guard !around.isEmpty else { return "\(name): no block at \(CodeNames.hex(rip, 16)): nothing there has run yet" }
      exact = around
      around = []
    }
    guard let scratch = ScratchTranslator() else { return "\(name): the host refuses executable memory" }
    var reports = exact.map { report($0, rip & ~0xfff, host, scratch) }
    if !around.isEmpty {
      let starts = around.map { CodeNames.hex(rip & ~0xfff &+ UInt64($0.pointee.start), 16) }
      reports.append("also within the blocks at \(starts.joined(separator: ", "))")
    }
    return reports.map { "\(name): \($0)" }.joined(separator: "\n\n")
  }

  private func report(
    _ block: UnsafeMutablePointer<vm_block>, _ page: UInt64, _ host: UnsafePointer<UInt8>, _ scratch: ScratchTranslator
  ) -> String {
    let mode = block.pointee.mode & ~UInt32(VM_BLOCK_REGION)
    let start = CodeNames.hex(page &+ UInt64(block.pointee.start), 16)
    var head =
      "\(block.isRegion ? "region" : "block") \(start), \(CodeListing.bits(mode))-bit code, mode \(CodeNames.hex(mode, 3)), "
    head += "\(block.pointee.count) instructions, \(block.pointee.bytes) bytes"
    guard
      let listing = CodeListing(
        block, page: page, memory: host, counts: translator?.counts ?? false, owner: translator, scratch: scratch)
    else { return "\(head)\nno host code: code of this mode is interpreted" }
    if listing.isCurrent {
      head += "\nhost code at \(CodeNames.hex(block.pointee.code, 16)), \(listing.bytes) bytes"
    } else if block.pointee.code == 0 {
      head += "\nno host code: interpreted \(block.pointee.heat) times"
      if accelerator == .translator { head += ", translated after \(translationThreshold)" }
      head += "; this is what it would be, \(listing.bytes) bytes"
    } else {
      head += "\nhost code of \(block.pointee.code_bytes) bytes that would be other now; this is the new, "
      head += "\(listing.bytes) bytes"
    }
    return head + "\n" + listing.text
  }

  // MARK: Finding

  /// The page's bytes on the host, when they are RAM or ROM.
  private func codeHost(_ linear: UInt64) -> UnsafePointer<UInt8>? {
    let slot = Int(truncatingIfNeeded: linear &>> 12) & (Int(VM_FETCH_SIZE) - 1)
    for set in 0..<VM_MMU_COUNT {
      let entry = fetchTLBs[set * Int(VM_FETCH_SIZE) + slot]
      if entry.tag == linear & ~0xfff && entry.host != 0 { return UnsafePointer(bitPattern: UInt(entry.host)) }
    }
    guard let physical = probe(linear) else { return nil }
    let target = memory.target(physical & ~0xfff)
    if target.isEmpty { return nil }
    return target.read.map { UnsafePointer($0.assumingMemoryBound(to: UInt8.self)) }
  }

  /// Blocks that start at `offset` in the page, and others that contain it, in order.
  private func blocks(
    host: UnsafePointer<UInt8>, offset: Int
  ) -> (exact: [UnsafeMutablePointer<vm_block>], around: [UnsafeMutablePointer<vm_block>]) {
    guard let page = code.known(host: UInt64(UInt(bitPattern: host))) else { return ([], []) }
    var found: [UnsafeMutablePointer<vm_block>] = []
    for bucket in 0..<CodePage.bucketCount {
      var next = page.buckets[bucket]
      while let block = next {
        let start = Int(block.pointee.start)
        if start <= offset && offset < start + Int(block.pointee.bytes) { found.append(block) }
        next = block.pointee.next
      }
    }
    found.sort { ($0.pointee.start, $0.pointee.mode) < ($1.pointee.start, $1.pointee.mode) }
    return (found.filter { Int($0.pointee.start) == offset }, found.filter { Int($0.pointee.start) != offset })
  }
}

extension CodeListing {
  /// For people: guest instructions at the margin, host instructions beneath.
  var text: String {
    var lines: [String] = []
    var isOutOfLine = false
    for piece in pieces where !piece.code.isEmpty || piece.purpose.isInline {
      if !piece.purpose.isInline && !isOutOfLine {
        lines.append("out of line")
        isOutOfLine = true
      }
      switch piece.purpose {
      case .entry: lines.append("entry")
      case .instruction(let index):
        let each = guest[index]
        lines.append(CodeListing.line(CodeNames.hex(each.address, 16), each.bytes, each.text))
      case .end: if !piece.code.isEmpty { lines.append("to the next block") }
      default: lines.append("  \(title(piece.purpose))")
      }
      for each in piece.code {
        lines.append(CodeListing.line("    +" + CodeNames.hex(each.offset, 4), each.bytes, each.text))
      }
    }
    return lines.joined(separator: "\n")
  }

  private func title(_ purpose: CodeObserver.Purpose) -> String {
    // What follows the last instruction leaves by way of the jump cache when it lies in another page.
    func place(_ index: Int) -> String {
      index < guest.count ? CodeNames.hex(guest[index].address, 16) : "the block's end"
    }
    switch purpose {
    case .entry, .instruction, .end: return ""
    case .loopEntry: return "the loop's second body, in which it stays"
    case .loop(let index): return "again \(place(index))"
    case .stridedEntry: return "the loop's body for turns whose accesses have been checked"
    case .strided(let index): return "checked before: \(place(index))"
    case .strideCheck: return "checks of the accesses of many turns"
    case .miss(let index): return "interpreter's turn at \(place(index))"
    case .cacheMiss(let index): return "target of \(place(index)) not in its inline cache"
    case .indirectMiss(let index): return "target of \(place(index)) not in the jump cache"
    case .approach(let index): return "branch at \(place(index)) stays within"
    case .departure(let index): return "branch at \(place(index)) leaves"
    case .careful(let index): return "carefully \(place(index))"
    case .load(let index): return "registers to be loaded at \(place(index))"
    case .leave(let offset):
      let target = (start & ~0xfff) &+ UInt64(bitPattern: Int64(offset))
      return "branch to \(CodeNames.hex(target, 16)) while not linked"
    case .refusal: return "something is pending, or the budget is used up"
    }
  }

  private static func line(_ place: String, _ bytes: [UInt8], _ text: String) -> String {
    let hex = bytes.map { CodeNames.hex($0, 2) }.joined(separator: " ")
    let filled = "\(place)  \(hex)"
    return filled + String(repeating: " ", count: max(2, 52 - filled.count)) + text
  }
}
