import CZydis

/// One host instruction as the verifier sees it: what it is, and every register and memory operand, hidden ones too.
struct HostInstruction: Equatable {
  /// What the verifier understands of an instruction. All that is not listed is refused.
  enum Kind: UInt8 {
    case refused
    /// Nothing but its operands matters.
    case plain
    case move, extend, address, add, subtract, exclusiveOr, and, not, compare, test, shiftLeft, shiftRight
    case rotateRight, extract, multiply, increment, decrement
    case copyString, fillString
    case jump, conditionalJump, call
  }

  struct Memory: Equatable {
    /// Register numbers; `HostInstruction.none` where there is none.
    var base: UInt8
    var index: UInt8
    var scale: UInt8
    var displacement: Int64
    /// Bytes accessed.
    var size: Int
    var isRead: Bool
    var isWritten: Bool
    /// Relative to RIP, by a segment other than the usual or by registers that are not 64 bits wide.
    var isOdd: Bool
  }

  static let none: UInt8 = 0xff

  /// From the block's start, and length, in bytes.
  var offset = 0
  var length = 0
  var kind = Kind.refused
  /// Condition of a Jcc, as encoded.
  var condition: UInt8 = 0
  /// Bytes of the first operand.
  var size = 0
  /// The first operand when it is a whole general register, the second, the third.
  var first = none
  var second = none
  var third = none
  /// Bytes of the second operand.
  var secondSize = 0
  var immediate: Int64?
  var memory: Memory?
  /// The first operand is the one in memory.
  var isMemoryFirst = false
  var repeats = false
  /// Where a direct branch leads, from the block's start.
  var target: Int?
  /// General registers, a bit for each.
  var reads: UInt16 = 0
  var writes: UInt16 = 0
  var usesVectors = false
  var usesX87 = false
}

/// Decodes host code by Zydis, each form of an instruction once (`HostForms`). Not for several threads at once.
final class HostInstructionReader {
  private var decoder = ZydisDecoder()
  private var forms = HostForms()
  private let operands = UnsafeMutablePointer<ZydisDecodedOperand>.allocate(capacity: Int(ZYDIS_MAX_OPERAND_COUNT))
  private let decoded = UnsafeMutablePointer<ZydisDecodedInstruction>.allocate(capacity: 1)

  init() {
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)
    operands.initialize(repeating: ZydisDecodedOperand(), count: Int(ZYDIS_MAX_OPERAND_COUNT))
    decoded.initialize(to: ZydisDecodedInstruction())
  }

  deinit {
    operands.deallocate()
    decoded.deallocate()
  }

  /// The instruction at `code + offset`, nil when the bytes up to `length` are none.
  func read(_ code: UnsafePointer<UInt8>, _ offset: Int, _ length: Int) -> HostInstruction? {
    if let known = forms.find(code, offset, length) { return known }
    guard let it = decode(code, offset, length) else { return nil }
    if it.kind != .refused { keep(it, code + offset) }
    return it
  }

  /// Has the form of an instruction that has just been decoded found from now on.
  private func keep(_ it: HostInstruction, _ code: UnsafePointer<UInt8>) {
    let raw = decoded.pointee.raw
    // None that emitted code has has two.
    guard raw.imm.1.size == 0 else { return }
    var form = HostForms.Form(it: it)
    var bytes = it.length
    if raw.disp.size != 0 {
      guard it.memory != nil else { return }
      form.displacement = HostForms.Field(offset: Int(raw.disp.offset), bytes: Int(raw.disp.size) / 8)
      bytes = min(bytes, form.displacement.offset)
    }
    if raw.imm.0.size != 0 {
      form.immediate = HostForms.Field(
        offset: Int(raw.imm.0.offset), bytes: Int(raw.imm.0.size) / 8, isSigned: raw.imm.0.is_signed != 0)
      form.isRelative = raw.imm.0.is_relative != 0
      bytes = min(bytes, form.immediate.offset)
    }
    forms.add(form, code, bytes: bytes)
  }

  /// The same without regard to forms.
  func decode(_ code: UnsafePointer<UInt8>, _ offset: Int, _ length: Int) -> HostInstruction? {
    let status = ZydisDecoderDecodeFull(&decoder, code + offset, ZyanUSize(length - offset), decoded, operands)
    guard status & 0x8000_0000 == 0 else { return nil }
    var it = HostInstruction()
    it.offset = offset
    it.length = Int(decoded.pointee.length)
    it.kind = HostMnemonics.kinds[Int(decoded.pointee.mnemonic.rawValue)]
    let name = decoded.pointee.mnemonic
    let set = decoded.pointee.meta.isa_ext
    if it.kind == .refused && !HostMnemonics.forbidden.contains(UInt32(name.rawValue)) {
      it.kind = HostMnemonics.kind(of: set)
      // MOVSD is two instructions.
      if name == ZYDIS_MNEMONIC_MOVSD && set == ZYDIS_ISA_EXT_BASE { it.kind = .copyString }
    }
    if decoded.pointee.address_width != 64 { it.kind = .refused }
    // REP, REPE, REPNE.
    it.repeats = decoded.pointee.attributes & (7 << 28) != 0
    it.condition = decoded.pointee.opcode & 15
    for index in 0..<Int(decoded.pointee.operand_count) { take(&it, operands + index, index) }
    return it
  }

  private func take(_ it: inout HostInstruction, _ operand: UnsafeMutablePointer<ZydisDecodedOperand>, _ index: Int) {
    let actions = operand.pointee.actions
    let isRead = actions & 5 != 0
    let isWritten = actions & 10 != 0
    let isExplicit = operand.pointee.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN
    let bytes = Int(operand.pointee.size) / 8
    if index == 0 { it.size = bytes }
    if index == 1 { it.secondSize = bytes }
    switch operand.pointee.type {
    case ZYDIS_OPERAND_TYPE_REGISTER:
      let register = HostRegisters.all[Int(operand.pointee.reg.value.rawValue)]
      switch register.kind {
      case .general:
        if isRead { it.reads |= 1 << UInt16(register.number) }
        if isWritten { it.writes |= 1 << UInt16(register.number) }
        guard isExplicit, !register.isHigh else { return }
        if index == 0 { it.first = register.number }
        if index == 1 { it.second = register.number }
        if index == 2 { it.third = register.number }
      case .vector: it.usesVectors = true
      case .x87: it.usesX87 = true
      case .harmless: break
      case .other: it.kind = .refused
      }
    case ZYDIS_OPERAND_TYPE_MEMORY:
      // The place of the return address.
      if it.kind == .call && !isExplicit { return }
      let memory = operand.pointee.mem
      let base = HostRegisters.all[Int(memory.base.rawValue)]
      let indexed = HostRegisters.all[Int(memory.index.rawValue)]
      let isString = it.kind == .copyString || it.kind == .fillString
      let segment = memory.segment
      let isUsual =
        segment == ZYDIS_REGISTER_DS || segment == ZYDIS_REGISTER_SS || isString && segment == ZYDIS_REGISTER_ES
      let isPlain =
        isUsual && (memory.base == ZYDIS_REGISTER_NONE || base.isWide)
        && (memory.index == ZYDIS_REGISTER_NONE || indexed.isWide)
      let isAddress = memory.type == ZYDIS_MEMOP_TYPE_AGEN
      // MOVS has two, which are told by what the instruction is.
      if it.memory != nil {
        if it.kind != .copyString { it.kind = .refused }
        if !isPlain { it.memory?.isOdd = true }
        return
      }
      it.memory = HostInstruction.Memory(
        base: memory.base == ZYDIS_REGISTER_NONE ? HostInstruction.none : base.number,
        index: memory.index == ZYDIS_REGISTER_NONE ? HostInstruction.none : indexed.number, scale: memory.scale,
        displacement: memory.disp.value, size: bytes, isRead: isRead && !isAddress, isWritten: isWritten && !isAddress,
        isOdd: !isPlain)
      it.isMemoryFirst = index == 0
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
      let value = operand.pointee.imm.value.s
      if operand.pointee.imm.is_relative != 0 {
        it.target = it.offset + it.length + Int(value)
      } else {
        it.immediate = value
      }
    default: it.kind = .refused
    }
  }
}

/// What Zydis calls registers.
private struct HostRegisters {
  enum Kind { case general, vector, x87, harmless, other }

  var kind: Kind
  var number: UInt8 = 0
  /// AH, CH, DH, BH.
  var isHigh = false
  /// 64 bits.
  var isWide = false

  static let all: [HostRegisters] = (0...Int(ZYDIS_REGISTER_MAX_VALUE.rawValue)).map { raw in
    func within(_ first: ZydisRegister, _ count: Int) -> Int? {
      let distance = raw - Int(first.rawValue)
      return distance >= 0 && distance < count ? distance : nil
    }
    if let place = within(ZYDIS_REGISTER_AL, 20) {
      // AL to BL, AH to BH, SPL and up.
      let isHigh = place >= 4 && place < 8
      return HostRegisters(kind: .general, number: UInt8(place < 4 ? place : place - 4), isHigh: isHigh)
    }
    for first in [ZYDIS_REGISTER_AX, ZYDIS_REGISTER_EAX] {
      if let place = within(first, 16) { return HostRegisters(kind: .general, number: UInt8(place)) }
    }
    if let place = within(ZYDIS_REGISTER_RAX, 16) {
      return HostRegisters(kind: .general, number: UInt8(place), isWide: true)
    }
    if within(ZYDIS_REGISTER_XMM0, 16) != nil { return HostRegisters(kind: .vector) }
    if within(ZYDIS_REGISTER_ST0, 8) != nil || within(ZYDIS_REGISTER_MM0, 8) != nil {
      return HostRegisters(kind: .x87)
    }
    let harmless = [
      ZYDIS_REGISTER_NONE, ZYDIS_REGISTER_FLAGS, ZYDIS_REGISTER_EFLAGS, ZYDIS_REGISTER_RFLAGS, ZYDIS_REGISTER_RIP,
      ZYDIS_REGISTER_X87CONTROL, ZYDIS_REGISTER_X87STATUS, ZYDIS_REGISTER_X87TAG, ZYDIS_REGISTER_MXCSR,
    ]
    return HostRegisters(kind: harmless.contains { Int($0.rawValue) == raw } ? .harmless : .other)
  }
}

/// The instructions that emitted code may have.
private enum HostMnemonics {
  static let kinds: [HostInstruction.Kind] = {
    var list = [HostInstruction.Kind](repeating: .refused, count: Int(ZYDIS_MNEMONIC_MAX_VALUE.rawValue) + 1)
    func set(_ kind: HostInstruction.Kind, _ names: ZydisMnemonic...) {
      for name in names { list[Int(name.rawValue)] = kind }
    }
    set(.move, ZYDIS_MNEMONIC_MOV)
    set(.extend, ZYDIS_MNEMONIC_MOVZX, ZYDIS_MNEMONIC_MOVSX, ZYDIS_MNEMONIC_MOVSXD)
    set(.address, ZYDIS_MNEMONIC_LEA)
    set(.add, ZYDIS_MNEMONIC_ADD)
    set(.subtract, ZYDIS_MNEMONIC_SUB)
    set(.exclusiveOr, ZYDIS_MNEMONIC_XOR)
    set(.and, ZYDIS_MNEMONIC_AND)
    set(.not, ZYDIS_MNEMONIC_NOT)
    set(.compare, ZYDIS_MNEMONIC_CMP)
    set(.test, ZYDIS_MNEMONIC_TEST)
    set(.shiftLeft, ZYDIS_MNEMONIC_SHL)
    set(.shiftRight, ZYDIS_MNEMONIC_SHR)
    set(.rotateRight, ZYDIS_MNEMONIC_RORX)
    set(.extract, ZYDIS_MNEMONIC_BEXTR)
    set(.multiply, ZYDIS_MNEMONIC_IMUL)
    set(.increment, ZYDIS_MNEMONIC_INC)
    set(.decrement, ZYDIS_MNEMONIC_DEC)
    set(.copyString, ZYDIS_MNEMONIC_MOVSB, ZYDIS_MNEMONIC_MOVSW, ZYDIS_MNEMONIC_MOVSQ)
    set(.fillString, ZYDIS_MNEMONIC_STOSB, ZYDIS_MNEMONIC_STOSW, ZYDIS_MNEMONIC_STOSD, ZYDIS_MNEMONIC_STOSQ)
    set(.jump, ZYDIS_MNEMONIC_JMP)
    set(.call, ZYDIS_MNEMONIC_CALL)
    set(
      .conditionalJump, ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_JB, ZYDIS_MNEMONIC_JNB, ZYDIS_MNEMONIC_JZ,
      ZYDIS_MNEMONIC_JNZ, ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_JNBE, ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_JNS,
      ZYDIS_MNEMONIC_JP, ZYDIS_MNEMONIC_JNP, ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_JLE,
      ZYDIS_MNEMONIC_JNLE)
    set(
      .plain, ZYDIS_MNEMONIC_OR, ZYDIS_MNEMONIC_ADC, ZYDIS_MNEMONIC_SBB, ZYDIS_MNEMONIC_NEG, ZYDIS_MNEMONIC_ROL,
      ZYDIS_MNEMONIC_ROR, ZYDIS_MNEMONIC_RCL, ZYDIS_MNEMONIC_RCR, ZYDIS_MNEMONIC_SAR, ZYDIS_MNEMONIC_SHLD,
      ZYDIS_MNEMONIC_SHRD, ZYDIS_MNEMONIC_MUL, ZYDIS_MNEMONIC_DIV, ZYDIS_MNEMONIC_IDIV, ZYDIS_MNEMONIC_BT,
      ZYDIS_MNEMONIC_BTS, ZYDIS_MNEMONIC_BTR, ZYDIS_MNEMONIC_BTC, ZYDIS_MNEMONIC_BSF, ZYDIS_MNEMONIC_BSR,
      ZYDIS_MNEMONIC_POPCNT, ZYDIS_MNEMONIC_BSWAP, ZYDIS_MNEMONIC_XCHG, ZYDIS_MNEMONIC_XADD, ZYDIS_MNEMONIC_CMPXCHG,
      ZYDIS_MNEMONIC_CMPXCHG8B, ZYDIS_MNEMONIC_CMPXCHG16B, ZYDIS_MNEMONIC_CBW, ZYDIS_MNEMONIC_CWDE, ZYDIS_MNEMONIC_CDQE,
      ZYDIS_MNEMONIC_CWD, ZYDIS_MNEMONIC_CDQ, ZYDIS_MNEMONIC_CQO, ZYDIS_MNEMONIC_LAHF, ZYDIS_MNEMONIC_SAHF,
      ZYDIS_MNEMONIC_CMC, ZYDIS_MNEMONIC_CLC, ZYDIS_MNEMONIC_STC, ZYDIS_MNEMONIC_CRC32, ZYDIS_MNEMONIC_NOP,
      ZYDIS_MNEMONIC_PDEP, ZYDIS_MNEMONIC_PEXT, ZYDIS_MNEMONIC_MOVNTI, ZYDIS_MNEMONIC_LFENCE, ZYDIS_MNEMONIC_MFENCE,
      ZYDIS_MNEMONIC_SFENCE,
      ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB, ZYDIS_MNEMONIC_SETNB, ZYDIS_MNEMONIC_SETZ,
      ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE, ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS,
      ZYDIS_MNEMONIC_SETP, ZYDIS_MNEMONIC_SETNP, ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE,
      ZYDIS_MNEMONIC_SETNLE,
      ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB, ZYDIS_MNEMONIC_CMOVNB, ZYDIS_MNEMONIC_CMOVZ,
      ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE, ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVNS,
      ZYDIS_MNEMONIC_CMOVP, ZYDIS_MNEMONIC_CMOVNP, ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVLE,
      ZYDIS_MNEMONIC_CMOVNLE)
    return list
  }()

  /// Of those that are told by the extension they belong to.
  static func kind(of set: ZydisISAExt) -> HostInstruction.Kind {
    switch set {
    case ZYDIS_ISA_EXT_SSE, ZYDIS_ISA_EXT_SSE2, ZYDIS_ISA_EXT_SSE3, ZYDIS_ISA_EXT_SSSE3, ZYDIS_ISA_EXT_SSE4,
      ZYDIS_ISA_EXT_MMX, ZYDIS_ISA_EXT_X87:
      .plain
    default: .refused
    }
  }

  /// Of those extensions the ones that write more than their operands say, or what the host relies on.
  static let forbidden: Set<UInt32> = Set(
    [
      ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_STMXCSR, ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_MASKMOVQ,
      ZYDIS_MNEMONIC_FRSTOR, ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FNSAVE, ZYDIS_MNEMONIC_FNSTENV,
      ZYDIS_MNEMONIC_FXSAVE,
      ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXSAVE64, ZYDIS_MNEMONIC_FXRSTOR64,
    ].map { UInt32($0.rawValue) })
}

extension HostInstruction {
  /// The text of the instruction at `code`, for people.
  static func text(_ code: UnsafePointer<UInt8>, _ length: Int) -> String {
    var it = ZydisDisassembledInstruction()
    let status = ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0, code, ZyanUSize(length), &it)
    guard status & 0x8000_0000 == 0 else { return "bytes that are no instruction" }
    return withUnsafeBytes(of: &it.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}
