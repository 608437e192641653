import CHost

typealias Word = FixedWidthInteger & UnsignedInteger
typealias CPUState = UnsafeMutablePointer<vm_cpu_state>
typealias Op = UnsafeMutablePointer<vm_op>

/// RFLAGS bits.
enum Flag {
  static let cf: UInt64 = 1
  static let pf: UInt64 = 4
  static let af: UInt64 = 0x10
  static let zf: UInt64 = 0x40
  static let sf: UInt64 = 0x80
  static let of: UInt64 = 0x800
  static let df: UInt64 = 0x400
  static let arithmetic: UInt64 = 0x8d5
}

/// Lazy arithmetic flags, as cpu_state.h describes them.
extension UnsafeMutablePointer where Pointee == vm_cpu_state {
  /// Sign-extends to 64 bits.
  @inline(__always)
  func wide<T: Word>(_ value: T) -> UInt64 {
    let shift = UInt64(64 &- T.bitWidth)
    return UInt64(bitPattern: Int64(bitPattern: UInt64(truncatingIfNeeded: value) &<< shift) &>> Int64(shift))
  }

  /// A carry vector with the top bit's carry moved to bit 63 and that of bit 3 where it was.
  @inline(__always)
  func spread<T: Word>(_ carries: T) -> UInt64 {
    let value = UInt64(truncatingIfNeeded: carries)
    if T.bitWidth == 64 { return value }
    return value &<< UInt64(64 &- T.bitWidth) | value & 8
  }

  @inline(__always)
  func setLazy(_ result: UInt64, _ carries: UInt64) {
    pointee.flag_result = result
    pointee.flag_carries = carries
    pointee.flag_parity = 0
    pointee.flag_sign = 0
  }

  @inline(__always)
  func flagsOfAdd<T: Word>(_ a: T, _ b: T, _ result: T) {
    let carries: T = (a & b) | ((a | b) & ~result)
    setLazy(wide(result), spread(carries))
  }

  @inline(__always)
  func flagsOfSub<T: Word>(_ a: T, _ b: T, _ result: T) {
    let borrows: T = (~a & b) | (~(a ^ b) & result)
    setLazy(wide(result), spread(borrows))
  }

  @inline(__always)
  func flagsOfLogic<T: Word>(_ result: T) { setLazy(wide(result), 0) }

  /// The flags of a shift or multiplication: CF and OF as given, AF clear.
  @inline(__always)
  func setFlags<T: Word>(_ result: T, carry: Bool, overflow: Bool) {
    let cf: UInt64 = carry ? 1 &<< 63 : 0
    let into: UInt64 = carry != overflow ? 1 &<< 62 : 0
    setLazy(wide(result), cf | into)
  }

  /// Changes CF and OF and leaves the others: rotates, BT.
  @inline(__always)
  func setCarry(_ carry: Bool, overflow: Bool) {
    let cf: UInt64 = carry ? 1 &<< 63 : 0
    let into: UInt64 = carry != overflow ? 1 &<< 62 : 0
    pointee.flag_carries = pointee.flag_carries & ~(3 &<< 62) | cf | into
  }

  @inline(__always) var cf: Bool { Int64(bitPattern: pointee.flag_carries) < 0 }
  @inline(__always) var zf: Bool { pointee.flag_result == 0 }
  @inline(__always) var sf: Bool { Int64(bitPattern: pointee.flag_result ^ pointee.flag_sign) < 0 }
  @inline(__always) var of: Bool {
    let carries = pointee.flag_carries
    return Int64(bitPattern: carries ^ carries &<< 1) < 0
  }
  @inline(__always) var af: Bool { pointee.flag_carries & 8 != 0 }
  @inline(__always) var pf: Bool {
    let low = (pointee.flag_result ^ pointee.flag_parity) & 0xff
    let folded = (low ^ low &>> 4) & 15
    return 0x9669 as UInt64 &>> folded & 1 != 0
  }

  /// CF PF AF ZF SF OF at their places in RFLAGS.
  var arithmeticImage: UInt64 {
    var image: UInt64 = cf ? Flag.cf : 0
    if pf { image |= Flag.pf }
    if af { image |= Flag.af }
    if zf { image |= Flag.zf }
    if sf { image |= Flag.sf }
    if of { image |= Flag.of }
    return image
  }

  func setArithmeticImage(_ image: UInt64) {
    let carry = image & Flag.cf != 0
    let parity = image & Flag.pf != 0
    var carries: UInt64 = carry ? 1 &<< 63 : 0
    if carry != (image & Flag.of != 0) { carries |= 1 &<< 62 }
    if image & Flag.af != 0 { carries |= 8 }
    pointee.flag_carries = carries
    pointee.flag_sign = image & Flag.sf != 0 ? 1 &<< 63 : 0
    if image & Flag.zf != 0 {
      // A zero byte has even parity.
      pointee.flag_result = 0
      pointee.flag_parity = parity ? 0 : 1
    } else {
      pointee.flag_result = 1
      pointee.flag_parity = parity ? 1 : 0
    }
  }

  /// The condition `code` of Jcc, SETcc and CMOVcc.
  @inline(__always)
  func condition(_ code: UInt16) -> Bool {
    let value: Bool
    switch code &>> 1 {
    case 0: value = of
    case 1: value = cf
    case 2: value = zf
    case 3: value = cf || zf
    case 4: value = sf
    case 5: value = pf
    case 6: value = sf != of
    default: value = zf || sf != of
    }
    return value != (code & 1 != 0)
  }
}

extension CPU {
  /// RFLAGS as PUSHF would show it.
  func flagsImage() -> UInt64 { s.pointee.eflags | s.arithmeticImage | 2 }

  /// Changes the bits of RFLAGS in `mask`. Does not look at what follows from TF or IF.
  func setFlags(_ image: UInt64, mask: UInt64) {
    if mask & Flag.arithmetic != 0 {
      let old = s.arithmeticImage
      s.setArithmeticImage(old & ~mask | image & mask)
    }
    let others = mask & ~Flag.arithmetic
    s.pointee.eflags = s.pointee.eflags & ~others | image & others | 2
  }
}
