import CHost

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The code that one CPU has translated, and the memory it is in.
///
/// Its memory is a ring of regions, filled one after the other; when all are full the oldest one's code makes room, which
/// takes less than a millisecond. A dead block's entry is overwritten, so that every way into it ends at what has come in its
/// place, or at the dispatcher (see `DeadEntries`); direct branches to it are unlinked as well.
final class Translator {
  static let codeBytes = 48 << 20
  /// Of code and of links, where code memory has its normal size.
  static let regionBytes = 512 << 10
  /// Links that a region's code may have; on average a block has two in some 300 bytes.
  static let regionLinks = 5 << 10
  static let jumpCacheBits = 14
  /// The most host code that one instruction takes, and a block besides.
  private static let instructionReserve = 1 << 10
  let memory: vm_code_memory
  /// From a writable address to the executable one.
  let distance: Int
  private(set) var cursor: UnsafeMutablePointer<UInt8>
  private var end: UnsafeMutablePointer<UInt8>
  var firstBlock: UnsafeMutablePointer<UInt8>

  let regionCount: Int
  let regionBytes: Int
  /// The region being filled, and the last block of each.
  var region = 0
  private let newest: UnsafeMutablePointer<UnsafeMutablePointer<vm_block>?>
  /// Links used of each region's share.
  let linksUsed: UnsafeMutablePointer<Int>

  /// Executable address of the function that enters code.
  var enterThunk = UnsafeRawPointer(bitPattern: 1)!
  /// Writable addresses: have an instruction interpreted (R14: the vm_op, R15: its index); leave.
  var stepThunk: UnsafeMutablePointer<UInt8>
  /// As `stepThunk`, where the rest of the block counts on neither vector registers nor the x87 state being loaded.
  var plainStepThunk: UnsafeMutablePointer<UInt8>
  var exitThunk: UnsafeMutablePointer<UInt8>
  /// Loads the vector registers; ZF: they must not be.
  var vectorThunk: UnsafeMutablePointer<UInt8>
  /// The same for the x87 state, and what stores that.
  var x87Thunk: UnsafeMutablePointer<UInt8>
  var x87StoreThunk: UnsafeMutablePointer<UInt8>

  /// What fills a micro-TLB entry: at twice the set, plus 1 for those that must be writable.
  var fillThunks: [UnsafeMutablePointer<UInt8>] = []
  /// The same for an entry of the data TLB.
  var missThunks: [UnsafeMutablePointer<UInt8>] = []
  var walkThunk: UnsafeMutablePointer<UInt8>
  /// Finds the target of an indirect branch that its inline cache does not lead to.
  var lookupThunk: UnsafeMutablePointer<UInt8>
  /// The same for a branch that has looked into the jump cache itself.
  var displacedThunk: UnsafeMutablePointer<UInt8>
  /// What the entries of dead blocks call.
  var deadThunk: UnsafeMutablePointer<UInt8>
  /// The inline cache that was given away last.
  var cacheCursor = 0
  /// The micro-TLB entry that was given away last.
  var microCursor = 1
  /// When each entry of the micro-TLB was filled so often that somebody looked (nanoseconds).
  var microFilled = [UInt64](repeating: 0, count: VM_MMU_COUNT * MicroTLB.slots)

  let links: UnsafeMutablePointer<vm_code_link>
  let jumpCache: UnsafeMutablePointer<vm_jump_entry>
  /// Parts of the jump key of supervisor and user code: entries of older generations are void.
  var jumpGeneration: UInt64 = 1
  var userGeneration: UInt64 = 1
  /// The other bits of the keys. No canonical address can be taken for an entry of an older generation; one that is not
  /// canonical, as a RET may find it, could be if it were known by how much keys differ.
  var supervisorSalt = UInt64.random(in: 0..<1 << 48)
  var userSalt = UInt64.random(in: 0..<1 << 48)
  var supervisorEvictions = EvictedPages()
  var userEvictions = EvictedPages()

  /// Whether code counts the guest's instructions, so that it can stop by number.
  var counts = true
  /// Turns of a loop that check each access before those to come are checked together.
  var turnsBeforeStrides = 4
  static let hasRotate = vm_host_has_bmi2() != 0

  var statistics = TranslatorStatistics()

  /// Whether code is proved before it runs.
  var verifiesCode = false {
    didSet { verifier = verifiesCode ? verifier ?? CodeVerifier(self) : nil }
  }
  var verifier: CodeVerifier?
  /// Is told of each refusal.
  var onRefusal: (CodeRefusal) -> Void = { _ in }
  /// For tests: may change code before it is looked at.
  var beforeVerifying: ((UnsafeMutablePointer<UInt8>, Int) -> Void)?

  /// Nil when the host refuses executable memory.
  ///
  /// - Parameters:
  ///   - codeBytes: at least a megabyte.
  ///   - emptyTag: of micro-TLB entries that hold nothing.
  init?(
    jumpCache: UnsafeMutablePointer<vm_jump_entry>, codeBytes: Int, emptyTag: UInt64, step: @escaping vm_code_step
  ) {
    regionBytes = min(Self.regionBytes, codeBytes / 8)
    regionCount = codeBytes / regionBytes
    let memory = vm_code_memory_map(regionCount * regionBytes)
    guard let executable = memory.executable, let writable = memory.writable else { return nil }
    self.memory = memory
    distance = Int(bitPattern: executable) - Int(bitPattern: writable)
    cursor = writable
    end = writable + regionBytes
    newest = .allocate(capacity: regionCount)
    newest.initialize(repeating: nil, count: regionCount)
    linksUsed = .allocate(capacity: regionCount)
    linksUsed.initialize(repeating: 0, count: regionCount)
    firstBlock = writable
    stepThunk = writable
    plainStepThunk = writable
    exitThunk = writable
    vectorThunk = writable
    x87Thunk = writable
    x87StoreThunk = writable
    walkThunk = writable
    lookupThunk = writable
    displacedThunk = writable
    deadThunk = writable
    // Pages that are never written stay unallocated.
    let linkCount = regionCount * Self.regionLinks
    links = calloc(linkCount, MemoryLayout<vm_code_link>.stride)!.assumingMemoryBound(to: vm_code_link.self)
    self.jumpCache = jumpCache
    clearJumps()
    emitThunks(vm_code_step_address(step), emptyTag)
  }

  deinit {
    vm_code_memory_unmap(memory)
    free(links)
    newest.deallocate()
    linksUsed.deallocate()
  }

  /// Memory that was filled at least once counts as used.
  var bytesInUse: Int {
    let filled = statistics.evictions > 0 ? regionCount - 1 : region
    return filled * regionBytes + (cursor - (memory.writable + region * regionBytes))
  }

  /// Sees to it that the code of `block` fits. May take the code of others away; what they lead to stays right.
  func makeRoom(for block: UnsafeMutablePointer<vm_block>) {
    let reserve = Self.instructionReserve * (Int(block.pointee.count) + 1)
    if end - cursor > reserve && linksUsed[region] + Int(block.pointee.count) + 8 < Self.regionLinks { return }
    region = region + 1 == regionCount ? 0 : region + 1
    cursor = region == 0 ? firstBlock : memory.writable + region * regionBytes
    end = memory.writable + (region + 1) * regionBytes
    if newest[region] != nil { evict() }
  }

  /// Takes the code out of the region that is to be filled anew. None of it may be running.
  private func evict() {
    let began = vm_monotonic_nanoseconds()
    defer { statistics.longestEviction = max(statistics.longestEviction, vm_monotonic_nanoseconds() &- began) }
    let first = executable(memory.writable + region * regionBytes)
    let last = first &+ UInt64(regionBytes)
    var next = newest[region]
    newest[region] = nil
    while let block = next {
      next = block.pointee.older
      block.pointee.older = nil
      guard block.pointee.code != 0 else { continue }
      unlinkBranches(to: block)
      block.pointee.code = 0
      statistics.evictedBlocks += 1
    }
    let own = links + region * Self.regionLinks
    for index in 0..<linksUsed[region] { detach(own + index) }
    linksUsed[region] = 0
    for slot in 0..<Self.jumpEntries where jumpCache[slot].code >= first && jumpCache[slot].code < last {
      jumpCache[slot] = vm_jump_entry()
    }
    statistics.evictions += 1
  }

  func executable(_ writable: UnsafeMutablePointer<UInt8>) -> UInt64 {
    UInt64(UInt(bitPattern: writable)) &+ UInt64(bitPattern: Int64(distance))
  }

  func writable(_ executable: UInt64) -> UnsafeMutablePointer<UInt8> {
    let address = UInt(executable &- UInt64(bitPattern: Int64(distance)))
    return UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped
  }

  /// `block` has got its code, up to `end`.
  func enter(_ block: UnsafeMutablePointer<vm_block>, end: UnsafeMutablePointer<UInt8>) {
    block.pointee.older = newest[region]
    newest[region] = block
    advance(to: end)
  }

  /// Takes the code up to `to` as used.
  func advance(to: UnsafeMutablePointer<UInt8>) {
    let bytes = (UInt(bitPattern: to) &+ 15) & ~15
    cursor = UnsafeMutablePointer(bitPattern: bytes).unsafelyUnwrapped
  }

  /// The block's bytes have been overwritten: no way leads into its code any more.
  func kill(_ block: UnsafeMutablePointer<vm_block>) {
    guard block.pointee.code != 0 else { return }
    // The jump cache and inline caches may still lead there.
    var entry = Assembler(cursor: writable(block.pointee.code))
    entry.call(deadThunk)
    entry.word32(Int32(block.pointee.start))
    unlinkBranches(to: block)
    block.pointee.code = 0
  }

  /// The block lives on, to be translated in another way: it is no longer its region's either.
  func drop(_ block: UnsafeMutablePointer<vm_block>) {
    guard block.pointee.code != 0 else { return }
    let place = (writable(block.pointee.code) - memory.writable) / regionBytes
    if newest[place] == block {
      newest[place] = block.pointee.older
    } else {
      var newer = newest[place]
      while let each = newer, each.pointee.older != block { newer = each.pointee.older }
      newer?.pointee.older = block.pointee.older
    }
    block.pointee.older = nil
    kill(block)
  }

  /// Drops all code; every block that has some is dropped too.
  func reset() {
    region = 0
    cursor = firstBlock
    end = memory.writable + regionBytes
    newest.update(repeating: nil, count: regionCount)
    linksUsed.update(repeating: 0, count: regionCount)
    invalidateJumps()
    statistics.flushes += 1
  }
}
