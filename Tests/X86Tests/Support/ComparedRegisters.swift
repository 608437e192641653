import CHost

@testable import X86

extension CPU {
  /// Everything that the two accelerators may differ in.
  var comparedRegisters: [UInt64] {
    let segments = (0..<8).flatMap { number -> [UInt64] in
      let register = segmentRegister(number).pointee
      return [register.base, UInt64(register.limit), UInt64(register.selector), UInt64(register.attributes)]
    }
    return (0..<16).map { slots[$0] } + [s.pointee.rip, flagsImage(), UInt64(s.pointee.cpl)] + segments
  }
}
