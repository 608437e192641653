import CHost

/// The jump cache: where the targets of indirect branches are, by their address and a key that changes when an address may mean
/// something else.
extension Translator {
  /// Targets that the jump cache holds may mean something else now.
  func invalidateJumps() {
    invalidateJumps(set: VM_MMU_SUPERVISOR)
    invalidateJumps(set: VM_MMU_USER)
  }

  /// A translation of the fetch TLB's `set` has been dropped.
  func invalidateJumps(set: Int) {
    if set == VM_MMU_USER {
      userGeneration &+= 1
      userSalt = Self.nextSalt(userSalt)
      userEvictions = EvictedPages()
    } else {
      jumpGeneration &+= 1
      supervisorSalt = Self.nextSalt(supervisorSalt)
      supervisorEvictions = EvictedPages()
    }
    if jumpGeneration > 0x7ff || userGeneration > 0x7ff { clearJumps() }
  }

  /// A page's entry in the fetch TLB's `set` gives way to another. Its translation holds until it is flushed.
  func noteEviction(set: Int, page: UInt64, global: Bool) {
    if set == VM_MMU_USER {
      userEvictions.add(page, global: global)
    } else {
      supervisorEvictions.add(page, global: global)
    }
  }

  /// Pages of `set` that the jump cache may hold though the fetch TLB does not.
  func evictions(set: Int) -> EvictedPages { set == VM_MMU_USER ? userEvictions : supervisorEvictions }

  func clearJumps() {
    jumpGeneration = 1
    userGeneration = 1
    let bytes = MemoryLayout<vm_jump_entry>.stride * Self.jumpEntries
    UnsafeMutableRawPointer(jumpCache).initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  /// 48 bits that the guest cannot foresee (SplitMix64's step and its output).
  @inline(__always)
  private static func nextSalt(_ salt: UInt64) -> UInt64 {
    var mixed = salt &+ 0x9e37_79b9_7f4a_7c15
    mixed = (mixed ^ mixed &>> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed &>> 27) &* 0x94d0_49bb_1331_11eb
    return (mixed ^ mixed &>> 31) & 0xffff_ffff_ffff
  }

  /// Bits 48 to 62: the generation and the number of a mode that `BlockTranslator.handles`; beneath, the salt.
  @inline(__always)
  func jumpKey(_ mode: UInt32) -> UInt64 {
    // Such modes differ in these only.
    let kind: UInt64 = mode & UInt32(VM_MODE_CODE64) != 0 ? 0 : mode & UInt32(VM_MODE_LONG) != 0 ? 4 : 8
    let set = UInt64(mode &>> UInt32(VM_MODE_MMU_SHIFT)) & 3
    let isUser = set == UInt64(VM_MMU_USER)
    return ((isUser ? userGeneration : jumpGeneration) &<< 4 | kind | set) &<< 48 | (isUser ? userSalt : supervisorSalt)
  }

  /// Where the jump cache has an address: its low bits, mixed with those that differ between aligned ones. Emitted code
  /// does the same: see `emitJumpSlot`.
  @inline(__always)
  private func jumpEntry(_ rip: UInt64) -> UnsafeMutablePointer<vm_jump_entry> {
    let low = UInt32(truncatingIfNeeded: rip)
    return jumpCache + Int((low ^ low &>> 5) & (1 &<< UInt32(Self.jumpCacheBits) &- 1))
  }

  func fillJump(_ rip: UInt64, key: UInt64, code: UInt64) {
    let entry = jumpEntry(rip)
    // What stood there moves to its second place. That of another key has none, and is void or soon will be.
    let other = entry.pointee.tag ^ key
    if entry.pointee.tag != 0 && other != rip && CPU.isCanonical(other) {
      displacedEntry(other).pointee = entry.pointee
    }
    entry.pointee = vm_jump_entry(tag: rip ^ key, code: code, page: rip & ~0xfff, visits: 0, repeats: 0)
  }

  /// The code at `rip`, 0 when the jump cache does not know.
  @inline(__always)
  func findJump(_ rip: UInt64, key: UInt64) -> UInt64 {
    let entry = jumpEntry(rip)
    if entry.pointee.tag == rip ^ key { return entry.pointee.code }
    let second = displacedEntry(rip)
    return second.pointee.tag == rip ^ key ? second.pointee.code : 0
  }
}
