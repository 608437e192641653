import CHost

/// The operands of x87, MMX and SSE instructions, whose tables name register files by shape.
extension Disassembler {
  static func vectorOperands(_ decoder: Decoder) -> [String] {
    let op = decoder.op
    let row = SIMDTable.rows[Int(op.sub)]
    let isMemory = Int(op.prefixes) & VM_PREFIX_MEMORY != 0
    let wide: UInt8 = Int(op.prefixes) & VM_PREFIX_REX_W != 0 ? 8 : 4
    func xmm(_ number: UInt8) -> String { "xmm\(number)" }
    func mm(_ number: UInt8) -> String { "mm\(number & 7)" }
    func general(_ number: UInt8) -> String { register(number, wide) }
    let place = isMemory ? memory(decoder, size: row.size <= 8 ? row.size : nil) : ""
    func rm(_ file: (UInt8) -> String) -> String { isMemory ? place : file(op.rm) }
    var list: [String]
    switch Int(row.shape) {
    case VM_SIMD_XX, VM_SIMD_LOAD, VM_SIMD_FLAGS, VM_SIMD_BLENDV, VM_SIMD_STRINGS, VM_SIMD_MASKMOVDQU:
      list = [xmm(op.reg), rm(xmm)]
    case VM_SIMD_STORE, VM_SIMD_STORE_HIGH: list = [rm(xmm), xmm(op.reg)]
    case VM_SIMD_PP, VM_SIMD_MASKMOVQ: list = [mm(op.reg), rm(mm)]
    case VM_SIMD_PSTORE: list = [rm(mm), mm(op.reg)]
    case VM_SIMD_XP: list = [xmm(op.reg), rm(mm)]
    case VM_SIMD_PX: list = [mm(op.reg), rm(xmm)]
    case VM_SIMD_XG: list = [xmm(op.reg), rm(general)]
    case VM_SIMD_PG: list = [mm(op.reg), rm(general)]
    case VM_SIMD_GX: list = [general(op.reg), rm(xmm)]
    case VM_SIMD_GP: list = [general(op.reg), rm(mm)]
    case VM_SIMD_EX: list = [rm(general), xmm(op.reg)]
    case VM_SIMD_EP: list = [rm(general), mm(op.reg)]
    case VM_SIMD_XI: list = [xmm(op.rm)]
    case VM_SIMD_PI: list = [mm(op.rm)]
    case VM_SIMD_CRC32: list = [general(op.reg), isMemory ? place : register(op.rm, row.size == 1 ? 1 : wide)]
    case VM_SIMD_MOVNTI: list = [place, general(op.reg)]
    case VM_SIMD_EMMS, VM_SIMD_FENCE: list = []
    default: list = isMemory ? [place] : []
    }
    if Int(row.flags) & VM_SIMD_IMMEDIATE != 0 {
      list.append("0x" + String(UInt8(truncatingIfNeeded: op.imm), radix: 16))
    }
    return list
  }

  /// Mnemonic and operands of D8 to DF (Intel SDM vol. 2D, tables A-7 to A-22).
  static func x87(_ decoder: Decoder) -> String {
    let sub = Int(decoder.op.sub)
    let opcode = sub >> 8
    let digit = sub >> 3 & 7
    if sub & 0xc0 != 0xc0 {
      let (name, size) = x87Memory[opcode][digit]
      return name + " " + memory(decoder, size: size == 0 ? nil : size)
    }
    let number = sub & 7
    let st = "st(\(number))"
    if opcode == 1 && digit >= 4 || opcode == 3 && digit == 4 {
      return x87Plain[sub & 0x73f] ?? "fpu 0x\(String(sub, radix: 16))"
    }
    switch (opcode, digit) {
    case (0, _): return "\(x87Arithmetic[digit]) st, \(st)"
    case (1, 0): return "fld \(st)"
    case (1, 1): return "fxch \(st)"
    case (1, 2) where number == 0: return "fnop"
    case (2, 0...3): return "\(["fcmovb", "fcmove", "fcmovbe", "fcmovu"][digit]) st, \(st)"
    case (2, 5) where number == 1: return "fucompp"
    case (3, 0...3): return "\(["fcmovnb", "fcmovne", "fcmovnbe", "fcmovnu"][digit]) st, \(st)"
    case (3, 5): return "fucomi st, \(st)"
    case (3, 6): return "fcomi st, \(st)"
    case (4, 0), (4, 1), (4, 4...7): return "\(x87Reversed[digit]) \(st), st"
    case (5, 0): return "ffree \(st)"
    case (5, 2): return "fst \(st)"
    case (5, 3): return "fstp \(st)"
    case (5, 4): return "fucom \(st)"
    case (5, 5): return "fucomp \(st)"
    case (6, 0), (6, 1), (6, 4...7): return "\(x87Reversed[digit])p \(st), st"
    case (6, 3) where number == 1: return "fcompp"
    case (7, 4) where number == 0: return "fnstsw ax"
    case (7, 5): return "fucomip st, \(st)"
    case (7, 6): return "fcomip st, \(st)"
    default: return "fpu 0x\(String(sub, radix: 16))"
    }
  }

  private static let x87Arithmetic = ["fadd", "fmul", "fcom", "fcomp", "fsub", "fsubr", "fdiv", "fdivr"]
  private static let x87Reversed = ["fadd", "fmul", "", "", "fsubr", "fsub", "fdivr", "fdiv"]
  private static let x87Integer = ["fiadd", "fimul", "ficom", "ficomp", "fisub", "fisubr", "fidiv", "fidivr"]

  /// By opcode and ModRM.reg: the name and the operand's size, 0 when that is no general size.
  private static let x87Memory: [[(String, UInt8)]] = [
    x87Arithmetic.map { ($0, 4) },
    [("fld", 4), ("fpu", 0), ("fst", 4), ("fstp", 4), ("fldenv", 0), ("fldcw", 2), ("fnstenv", 0), ("fnstcw", 2)],
    x87Integer.map { ($0, 4) },
    [
      ("fild", 4), ("fisttp", 4), ("fist", 4), ("fistp", 4), ("fpu", 0), ("fld tbyte ptr", 0), ("fpu", 0),
      ("fstp tbyte ptr", 0),
    ],
    x87Arithmetic.map { ($0, 8) },
    [("fld", 8), ("fisttp", 8), ("fst", 8), ("fstp", 8), ("frstor", 0), ("fpu", 0), ("fnsave", 0), ("fnstsw", 2)],
    x87Integer.map { ($0, 2) },
    [("fild", 2), ("fisttp", 2), ("fist", 2), ("fistp", 2), ("fbld", 0), ("fild", 8), ("fbstp", 0), ("fistp", 8)],
  ]

  /// Without operands: opcode and the low six bits of ModRM.
  private static let x87Plain: [Int: String] = [
    0x120: "fchs", 0x121: "fabs", 0x124: "ftst", 0x125: "fxam", 0x128: "fld1", 0x129: "fldl2t", 0x12a: "fldl2e",
    0x12b: "fldpi", 0x12c: "fldlg2", 0x12d: "fldln2", 0x12e: "fldz", 0x130: "f2xm1", 0x131: "fyl2x", 0x132: "fptan",
    0x133: "fpatan", 0x134: "fxtract", 0x135: "fprem1", 0x136: "fdecstp", 0x137: "fincstp", 0x138: "fprem",
    0x139: "fyl2xp1", 0x13a: "fsqrt", 0x13b: "fsincos", 0x13c: "frndint", 0x13d: "fscale", 0x13e: "fsin",
    0x13f: "fcos", 0x322: "fnclex", 0x323: "fninit",
  ]
}
