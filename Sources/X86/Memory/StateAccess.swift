import CHost

/// The arrays of `vm_cpu_state` as pointers: Swift imports them as tuples.
extension CPU {
  /// General registers and the extra slots.
  @inline(__always)
  var slots: UnsafeMutablePointer<UInt64> {
    UnsafeMutableRawPointer(s).assumingMemoryBound(to: UInt64.self)
  }

  @inline(__always)
  func segmentRegister(_ number: Int) -> UnsafeMutablePointer<vm_segment> {
    withUnsafeMutablePointer(to: &s.pointee.segments) {
      UnsafeMutableRawPointer($0).assumingMemoryBound(to: vm_segment.self) + number
    }
  }

  /// DR0 to DR7.
  @inline(__always)
  var debugRegisters: UnsafeMutablePointer<UInt64> {
    withUnsafeMutablePointer(to: &s.pointee.dr) {
      UnsafeMutableRawPointer($0).assumingMemoryBound(to: UInt64.self)
    }
  }

  @inline(__always)
  var isLongMode: Bool { s.pointee.mode & UInt32(VM_MODE_LONG) != 0 }
  @inline(__always)
  var isCode64: Bool { s.pointee.mode & UInt32(VM_MODE_CODE64) != 0 }
  @inline(__always)
  var isProtected: Bool { s.pointee.mode & UInt32(VM_MODE_PROTECTED) != 0 }
  @inline(__always)
  var isV86: Bool { s.pointee.mode & UInt32(VM_MODE_V86) != 0 }
}

/// Segment numbers as Int, for indexing.
enum Seg {
  static let es = 0
  static let cs = 1
  static let ss = 2
  static let ds = 3
  static let fs = 4
  static let gs = 5
  static let ldtr = 6
  static let tr = 7
}

/// Slots of `vm_cpu_state.gpr` by name.
enum Reg {
  static let rax = 0
  static let rcx = 1
  static let rdx = 2
  static let rbx = 3
  static let rsp = 4
  static let rbp = 5
  static let rsi = 6
  static let rdi = 7
}
