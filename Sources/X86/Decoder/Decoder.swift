import CHost

/// What became of decoding.
enum DecodeStatus {
  case complete
  /// The bytes end before the instruction does.
  case needsMoreBytes
  /// More than 15 bytes: #GP(0) (Intel SDM vol. 2A, 2.3.11).
  case tooLong
}

/// Why the decoder cannot have the next byte. Bytes are asked for in order, so an instruction of more than 15 bytes is
/// too long only when the first 15 are there: before that, the fetch of a missing one comes first.
private enum MissingByte: Error {
  case notAvailable, beyondLimit
}

/// Turns the bytes of one instruction into a `vm_op`: prefixes, opcode, ModRM, SIB, displacement, immediate (Intel SDM
/// vol. 2A, chapter 2). `Lowering` then picks the executor's kind.
struct Decoder {
  private let bytes: UnsafePointer<UInt8>
  private let available: Int
  private var position = 0
  private let mode: UInt32

  private var operandSizePrefix = false
  private var addressSizePrefix = false
  private(set) var segmentOverride: UInt8 = 0xff
  private var repeatPrefix: UInt8 = 0
  private var lock = false
  private var rex: UInt8 = 0

  private(set) var op = vm_op()
  private(set) var row = InstructionRow()
  /// Of CMOVcc, SETcc and so on the row's mnemonic has the condition.
  var mnemonic: String {
    if row.family == .simd { return SIMDEncoding(sub: op.sub, hasImmediate: false).mnemonic }
    return map == 0 && opcode == 0x63 && is64 ? "movsxd" : table.mnemonics[Int(row.mnemonic)]
  }
  /// Map and opcode byte, for the disassembler.
  private(set) var map = 0
  private(set) var opcode: UInt8 = 0
  private(set) var modrm: UInt8 = 0
  private(set) var simdPrefix = SIMDPrefix.none
  private var hasModRM = false
  /// ModRM.rm is not a register after all, or the row asks for what is not there.
  private var invalid = false
  private let table = InstructionTable.shared

  var is64: Bool { mode & UInt32(VM_MODE_CODE_MASK) == UInt32(VM_MODE_CODE64) }

  /// - Parameters:
  ///   - bytes: `available` bytes of code, at least one.
  ///   - mode: VM_MODE_*.
  ///   - blockOffset: of the first byte from the start of the block.
  init(bytes: UnsafePointer<UInt8>, available: Int, mode: UInt32, blockOffset: Int) {
    self.bytes = bytes
    self.available = available
    self.mode = mode
    op.offset = UInt16(blockOffset)
    op.base = UInt8(VM_SLOT_ZERO)
    op.index = UInt8(VM_SLOT_ZERO)
  }

  // MARK: Bytes

  /// The next byte, which stays the next one. All bytes are read here, so that nothing is ever decided by a byte that is
  /// not there.
  @inline(__always)
  private func peek() throws(MissingByte) -> UInt8 {
    if position >= 15 { throw .beyondLimit }
    if position >= available { throw .notAvailable }
    return bytes[position]
  }

  @inline(__always)
  private mutating func byte() throws(MissingByte) -> UInt8 {
    let value = try peek()
    position += 1
    return value
  }

  private mutating func little(_ count: Int) throws(MissingByte) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<count { value |= UInt64(try byte()) &<< UInt64(index * 8) }
    return value
  }

  private mutating func signed(_ count: Int) throws(MissingByte) -> Int64 {
    let value = try little(count)
    let shift = UInt64(64 - count * 8)
    return Int64(bitPattern: value &<< shift) &>> Int64(shift)
  }

  // MARK: The instruction

  mutating func decode() -> DecodeStatus {
    do throws(MissingByte) {
      try readPrefixes()
      try readOpcode()
      if let encoding = try vectorEncoding() {
        try readVectorOperands(encoding)
      } else {
        try readRow()
        try readOperands()
      }
    } catch {
      return error == .beyondLimit ? .tooLong : .needsMoreBytes
    }
    op.length = UInt8(position)
    finish()
    return .complete
  }

  private mutating func readPrefixes() throws(MissingByte) {
    while true {
      let next = try peek()
      switch next {
      case 0x26: segmentOverride = is64 ? segmentOverride : UInt8(VM_ES)
      case 0x2e: segmentOverride = is64 ? segmentOverride : UInt8(VM_CS)
      case 0x36: segmentOverride = is64 ? segmentOverride : UInt8(VM_SS)
      case 0x3e: segmentOverride = is64 ? segmentOverride : UInt8(VM_DS)
      case 0x64: segmentOverride = UInt8(VM_FS)
      case 0x65: segmentOverride = UInt8(VM_GS)
      case 0x66: operandSizePrefix = true
      case 0x67: addressSizePrefix = true
      case 0xf0: lock = true
      case 0xf2: repeatPrefix = UInt8(VM_PREFIX_REPNE)
      case 0xf3: repeatPrefix = UInt8(VM_PREFIX_REP)
      case 0x40...0x4f where is64:
        position += 1
        rex = next
        continue
      default: return
      }
      position += 1
      // A REX prefix counts only right before the opcode.
      rex = 0
    }
  }

  private mutating func readOpcode() throws(MissingByte) {
    opcode = try byte()
    guard opcode == 0x0f else { return }
    opcode = try byte()
    map = 1
    if opcode == 0x38 || opcode == 0x3a {
      map = opcode == 0x38 ? 2 : 3
      opcode = try byte()
    }
    if repeatPrefix == UInt8(VM_PREFIX_REP) {
      simdPrefix = .f3
    } else if repeatPrefix == UInt8(VM_PREFIX_REPNE) {
      simdPrefix = .f2
    } else if operandSizePrefix {
      simdPrefix = ._66
    }
  }

  /// The MMX or SSE instruction, when it is one.
  private func vectorEncoding() throws(MissingByte) -> SIMDEncoding? {
    guard map != 0, SIMDTable.holds(map: map, opcode: opcode, prefix: simdPrefix) else { return nil }
    let next = isEMMS ? 0 : try peek()
    return SIMDTable.lookup(map: map, opcode: opcode, prefix: simdPrefix, modrm: next, rexW: rex & 8 != 0)
  }

  /// The only MMX or SSE instruction without a ModRM byte.
  private var isEMMS: Bool { map == 1 && opcode == 0x77 }

  private mutating func readVectorOperands(_ encoding: SIMDEncoding) throws(MissingByte) {
    row.family = .simd
    op.kind = OpKind.simd.rawValue
    op.sub = encoding.sub
    setSizes()
    if !isEMMS { try readModRM(immediate: encoding.hasImmediate ? 1 : 0) }
    if encoding.hasImmediate { op.imm = Int64(try byte()) }
  }

  /// The row of every other instruction.
  private mutating func readRow() throws(MissingByte) {
    let entry = table.maps[map << 8 | Int(opcode)]
    if entry & InstructionTable.groupFlag != 0 {
      let next = try peek()
      let group = Int(entry & ~InstructionTable.groupFlag) * InstructionTable.groupSize
      let member = next >= 0xc0 ? 8 + Int(next & 63) : Int(next >> 3 & 7)
      row = table.rows[Int(table.groups[group + member])]
      // Undefined members still have their ModRM byte.
      row.hasModRM = true
    } else {
      row = table.rows[Int(entry)]
      if entry == 0 { row.hasModRM = undefinedHasModRM }
    }
    if map == 0 && opcode == 0x63 && is64 {
      row.family = .movsx
      row.first = .Gv
      row.second = .Ed
      row.attributes = []
    }
  }

  /// Whether an opcode that no row has is followed by a ModRM byte: #UD comes when all of the instruction has been
  /// fetched (AMD APM vol. 3, appendix A: the opcode maps).
  private var undefinedHasModRM: Bool {
    switch (map, opcode) {
    case (0, _): false
    case (1, 0x04...0x0c), (1, 0x0e), (1, 0x24...0x27), (1, 0x30...0x3f), (1, 0x77), (1, 0xa6...0xa7), (1, 0xaa): false
    default: true
    }
  }

  private mutating func setSizes() {
    let code = mode & UInt32(VM_MODE_CODE_MASK)
    if is64 {
      op.operand_size = rex & 8 != 0 ? 8 : (operandSizePrefix ? 2 : 4)
      op.address_size = addressSizePrefix ? 4 : 8
      if row.attributes.contains(.force64) { op.operand_size = 8 }
      if row.attributes.contains(.default64) && op.operand_size == 4 { op.operand_size = 8 }
    } else {
      let wide = code == UInt32(VM_MODE_CODE32)
      op.operand_size = wide != operandSizePrefix ? 4 : 2
      op.address_size = wide != addressSizePrefix ? 4 : 2
    }
  }

  private mutating func readOperands() throws(MissingByte) {
    setSizes()
    if row.hasModRM { try readModRM(immediate: immediateBytes) }
    // An opcode that does not exist has no immediates.
    if is64 && row.attributes.contains(.not64) { return }
    try readOperand(row.first)
    try readOperand(row.second)
    try readOperand(row.third)
  }

  /// Bytes that follow the displacement: a RIP-relative operand counts from behind them.
  private var immediateBytes: Int {
    immediateBytes(row.first) + immediateBytes(row.second) + immediateBytes(row.third)
  }

  private func immediateBytes(_ form: OperandForm) -> Int {
    switch form {
    case .Ib, .Ibs: 1
    case .Iw: 2
    case .Iz: min(4, Int(op.operand_size))
    default: 0
    }
  }

  private mutating func readOperand(_ form: OperandForm) throws(MissingByte) {
    switch form {
    case .none, .M, .Ma, .Mp, .Mq, .Mv, .DX, .one, .Ev, .Ew, .Gv, .Gw, .CL, .AX, .Xv, .Yv: break
    case .Eb, .Mb:
      if row.first != .Gv { op.operand_size = 1 }
      if op.prefixes & UInt8(VM_PREFIX_MEMORY) == 0 { op.rm = byteRegister(op.rm) }
    case .Gb:
      op.operand_size = 1
      op.reg = byteRegister(op.reg)
    case .Ed, .Gd: break
    case .Ey, .Gy, .Ry: op.operand_size = is64 ? (row.family == .system && rex & 8 == 0 && !forced ? 4 : 8) : 4
    case .Rv: break
    case .Sw: if op.reg & 7 > 5 { invalid = true } else { op.reg &= 7 }
    case .Cd: checkControl()
    case .Dd: if op.reg > 7 { invalid = true }
    case .Zb:
      op.operand_size = 1
      op.rm = byteRegister(opcode & 7 | (rex & 1) << 3)
    case .Zv: op.rm = opcode & 7 | (rex & 1) << 3
    case .AL, .Xb, .Yb: op.operand_size = 1
    case .ES, .CS, .SS, .DS, .FS, .GS: op.reg = form.rawValue - OperandForm.ES.rawValue
    case .Ib: readImmediate(UInt64(try byte()), form)
    case .Ibs: op.imm = try signed(1)
    case .Iw: readImmediate(try little(2), form)
    case .Iz: op.imm = op.operand_size == 2 ? try signed(2) : try signed(4)
    case .Iv: op.imm = try signed(Int(op.operand_size))
    case .Jb: try readBranch(1)
    case .Jz: try readBranch(op.operand_size == 2 ? 2 : 4)
    case .Ob, .Ov:
      if form == .Ob { op.operand_size = 1 }
      op.disp = Int64(bitPattern: try little(Int(op.address_size)))
      op.prefixes |= UInt8(VM_PREFIX_MEMORY)
      op.segment = segmentOverride == 0xff ? UInt8(VM_DS) : segmentOverride
    case .Ap:
      op.imm = Int64(bitPattern: try little(Int(op.operand_size)))
      op.disp = Int64(try little(2))
    }
  }

  private var forced: Bool { row.attributes.contains(.force64) }

  /// ENTER has two immediates: the frame's size stays in imm, the level goes to disp.
  private mutating func readImmediate(_ value: UInt64, _ form: OperandForm) {
    if row.family == .enter {
      if form == .Iw { op.imm = Int64(value) } else { op.disp = Int64(value & 31) }
    } else if form == .Ib && op.operand_size == 1 {
      op.imm = Int64(Int8(truncatingIfNeeded: value))
    } else {
      op.imm = Int64(value)
    }
  }

  private mutating func checkControl() {
    // LOCK MOV CR0 is not CR8 here: the profile does not offer it.
    switch op.reg {
    case 0, 2, 3, 4, 8: break
    default: invalid = true
    }
  }

  private mutating func readBranch(_ size: Int) throws(MissingByte) {
    let displacement = try signed(size)
    op.imm = displacement &+ Int64(position) &+ Int64(op.offset)
    op.disp = op.operand_size == 2 ? 0xffff : (op.operand_size == 4 ? 0xffff_ffff : -1)
  }

  /// Without REX, numbers 4-7 are AH, CH, DH, BH.
  private func byteRegister(_ number: UInt8) -> UInt8 {
    rex == 0 && number >= 4 ? (number - 4) * 8 + 1 : number * 8
  }

  private mutating func readModRM(immediate: Int) throws(MissingByte) {
    hasModRM = true
    modrm = try byte()
    op.reg = modrm >> 3 & 7 | (rex & 4) << 1
    if modrm >= 0xc0 || row.first == .Ry || row.second == .Ry && row.family == .system {
      op.rm = modrm & 7 | (rex & 1) << 3
      return
    }
    op.prefixes |= UInt8(VM_PREFIX_MEMORY)
    var segment = UInt8(VM_DS)
    if op.address_size == 2 {
      try readAddress16(&segment)
    } else {
      try readAddress(&segment, immediate)
    }
    op.segment = segmentOverride == 0xff ? segment : segmentOverride
  }

  private mutating func readAddress16(_ segment: inout UInt8) throws(MissingByte) {
    let bx: UInt8 = 3, bp: UInt8 = 5, si: UInt8 = 6, di: UInt8 = 7
    let none = UInt8(VM_SLOT_ZERO)
    let mod = modrm >> 6
    switch modrm & 7 {
    case 0: (op.base, op.index) = (bx, si)
    case 1: (op.base, op.index) = (bx, di)
    case 2: (op.base, op.index) = (bp, si)
    case 3: (op.base, op.index) = (bp, di)
    case 4: (op.base, op.index) = (si, none)
    case 5: (op.base, op.index) = (di, none)
    case 6: (op.base, op.index) = (mod == 0 ? none : bp, none)
    default: (op.base, op.index) = (bx, none)
    }
    if op.base == bp { segment = UInt8(VM_SS) }
    if mod == 1 { op.disp = try signed(1) }
    if mod == 2 || mod == 0 && modrm & 7 == 6 { op.disp = try signed(2) }
  }

  private mutating func readAddress(_ segment: inout UInt8, _ immediate: Int) throws(MissingByte) {
    let none = UInt8(VM_SLOT_ZERO)
    let mod = modrm >> 6
    if modrm & 7 == 4 {
      let sib = try byte()
      let index = sib >> 3 & 7 | (rex & 2) << 2
      op.index = index == 4 ? none : index
      op.scale = op.index == none ? 0 : sib >> 6
      if sib & 7 == 5 && mod == 0 {
        op.disp = try signed(4)
        return
      }
      op.base = sib & 7 | (rex & 1) << 3
    } else if modrm & 7 == 5 && mod == 0 {
      op.disp = try signed(4)
      if is64 {
        op.base = UInt8(VM_SLOT_RIP)
        op.disp &+= Int64(position + immediate) &+ Int64(op.offset)
      }
      return
    } else {
      op.base = modrm & 7 | (rex & 1) << 3
    }
    if op.base == 4 || op.base == 5 { segment = UInt8(VM_SS) }
    if mod == 1 { op.disp = try signed(1) }
    if mod == 2 { op.disp = try signed(4) }
  }

  // MARK: Validity and the executor's view

  private mutating func finish() {
    op.prefixes |= repeatPrefix
    if lock { op.prefixes |= UInt8(VM_PREFIX_LOCK) }
    if operandSizePrefix { op.prefixes |= UInt8(VM_PREFIX_OPSIZE) }
    if rex != 0 { op.prefixes |= UInt8(VM_PREFIX_REX) }
    if rex & 8 != 0 { op.prefixes |= UInt8(VM_PREFIX_REX_W) }
    if !row.hasModRM && op.prefixes & UInt8(VM_PREFIX_MEMORY) == 0 {
      // String instructions, XLAT, MASKMOVQ and MASKMOVDQU use DS:rSI, DS:rBX or DS:rDI unless overridden.
      op.segment = segmentOverride == 0xff ? UInt8(VM_DS) : segmentOverride
    }
    let memory = op.prefixes & UInt8(VM_PREFIX_MEMORY) != 0
    if lock && !(row.attributes.contains(.lockable) && memory) { invalid = true }
    if lock && row.family == .alu && row.sub == 7 { invalid = true }
    if row.attributes.contains(.f3) && repeatPrefix != UInt8(VM_PREFIX_REP) { invalid = true }
    if is64 ? row.attributes.contains(.not64) : row.attributes.contains(.only64) { invalid = true }
    switch row.first {
    case .M, .Mp, .Mq, .Mv: if !memory { invalid = true }
    default: break
    }
    switch row.second {
    case .M, .Mp, .Ma, .Mv: if !memory { invalid = true }
    default: break
    }
    setForm()
    if invalid || row.family == .undefined {
      op.kind = OpKind.undefined.rawValue
      return
    }
    if row.family != .simd { Lowering.lower(&op, row: row, opcode: opcode, modrm: modrm, mode: mode) }
  }

  private mutating func setForm() {
    let general = UInt8(VM_FORM_GENERAL)
    op.form = general
    let flat = is64 || mode & UInt32(VM_MODE_FLAT) != 0
    // Code segments are never written to: CS is checked.
    guard flat, is64 || op.segment != UInt8(VM_CS) else { return }
    if op.segment >= UInt8(VM_FS) {
      if op.address_size == 8 { op.form = UInt8(VM_FORM_BASED64) }
    } else if op.address_size == 8 {
      op.form = UInt8(VM_FORM_FLAT64)
    } else if op.address_size == 4 {
      op.form = UInt8(VM_FORM_FLAT32)
    }
  }
}
