import CHost

/// Offsets in the CPU's state and behind it, which the verifier has in common with the translator.
enum StateLayout {
  static func offset<T>(_ path: KeyPath<vm_cpu_state, T>) -> Int { MemoryLayout<vm_cpu_state>.offset(of: path)! }

  static let bytes = MemoryLayout<vm_cpu_state>.size
  static let rawFlags = offset(\.raw_flags)
  static let rip = offset(\.rip)
  static let page = offset(\.code_page)
  static let budget = offset(\.code_budget)
  static let jumpKey = offset(\.jump_key)
  static let leftBy = offset(\.code_left_by)
  static let exit = offset(\.code_exit)
  static let vectorReady = offset(\.vector_ready)
  static let x87Ready = offset(\.x87_ready)
  static let eflags = offset(\.eflags)
  static let fetchTLB = offset(\.fetch_tlb)
  static let kernelGSBase = offset(\.kernel_gs_base)
  static let gsBase = offset(\.segments) + VM_GS * MemoryLayout<vm_segment>.stride
  static let x87Instruction = offset(\.fpu_ip)
  static let x87Data = offset(\.fpu_dp)
  static let x87Opcode = offset(\.fpu_opcode)
  static let x87CodeSegment = offset(\.fpu_cs)
  static let x87DataSegment = offset(\.fpu_ds)
  static let windowAddends = offset(\.window_addends)
  static let stridePointers = offset(\.stride_pointers)
  static let turnsLeft = offset(\.turns_left)

  static let turns = Places.cell(turnsLeft)
  static let pageCell = Places.cell(page)
  static let windows = windowAddends..<windowAddends + 64
  static let strides = stridePointers..<stridePointers + 64

  /// Where emitted code may write, and how many bytes at most; what may be written to some of these is looked at besides.
  private static let writable: [(offset: Int, bytes: Int)] = [
    (0, 128), (rawFlags, 4), (rip, 8), (page, 8), (budget, 8), (leftBy, 8), (exit, 8), (eflags, 4), (gsBase, 8),
    (kernelGSBase, 8), (x87Instruction, 8), (x87Data, 8), (x87Opcode, 2), (x87CodeSegment, 2), (x87DataSegment, 2),
    (windowAddends, 64), (stridePointers, 64), (turnsLeft, 4),
  ]

  static func isWritable(_ offset: Int, _ bytes: Int) -> Bool {
    for field in writable where offset >= field.offset && offset + bytes <= field.offset + field.bytes {
      // Pieces of one cell only.
      return offset >> 3 == (offset + bytes - 1) >> 3
    }
    return false
  }

  /// Fields of the state, eight bytes each, that the guest knows nothing of.
  static func isForeign(_ offset: Int) -> Bool { foreign[offset >> 3] }

  private static let foreign: [Bool] = {
    var list = [Bool](repeating: false, count: bytes / 8 + 1)
    for field in [offset(\.data_tlb), fetchTLB, jumpKey, leftBy, exit, offset(\.owner), turnsLeft] {
      list[field >> 3] = true
    }
    for field in stride(from: windowAddends, to: windowAddends + 128, by: 8) { list[field >> 3] = true }
    return list
  }()

  /// What is behind the state, by its distance from the state's start.
  enum Region: Equatable {
    case state(Int)
    /// A field of an entry of the data TLB, set and byte offset in the set.
    case data(set: Int, offset: Int)
    case jump(Int)
    case micro(set: Int, slot: Int, field: Int)
    /// Addends of the data TLB once more.
    case pageAddend(set: Int, offset: Int)
    case other
  }

  static func region(_ offset: Int) -> Region {
    let entry = MemoryLayout<vm_tlb_entry>.stride
    if offset >= 0 && offset < bytes { return .state(offset) }
    let dataBytes = Int(VM_TLB_SIZE) * entry
    let data = offset - CPU.tlbOffset
    if data >= 0 && data < VM_MMU_COUNT * dataBytes { return .data(set: data / dataBytes, offset: data % dataBytes) }
    let jump = offset - CPU.jumpCacheOffset
    if jump >= 0 && jump < jumpBytes { return .jump(jump) }
    let micro = offset - MicroTLB.offset
    if micro >= 0 && micro < VM_MMU_COUNT * MicroTLB.slots * entry {
      let index = micro / entry
      return .micro(set: index / MicroTLB.slots, slot: index % MicroTLB.slots, field: micro % entry)
    }
    let addends = offset - CPU.pageAddendsOffset
    let setBytes = CPU.dataSetSize * 8
    if addends >= 0 && addends < VM_MMU_COUNT * setBytes {
      return .pageAddend(set: addends / setBytes, offset: addends % setBytes)
    }
    return .other
  }

  static let jumpBytes = Translator.jumpEntries * MemoryLayout<vm_jump_entry>.stride
  /// Of the jump cache without inline caches and displaced entries.
  static let jumpTableBytes = MemoryLayout<vm_jump_entry>.stride << Translator.jumpCacheBits
  static let inlineCaches =
    InlineCaches.offset - CPU.jumpCacheOffset..<InlineCaches.offset - CPU.jumpCacheOffset
    + InlineCaches.count * MemoryLayout<vm_jump_entry>.stride
}
