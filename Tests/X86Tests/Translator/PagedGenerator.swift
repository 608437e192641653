import CHost

@testable import X86

/// Makes programs at random.
struct PagedGenerator {
  private var oracle: OracleRun
  let compat: Bool
  /// Whether paging structures are odd and change; else all data is mapped and programs are about branches and flags.
  let pages: Bool
  /// No instruction leaves flags undefined, even for a moment.
  private var isTidy = false
  /// No interrupts, but STI: it holds them off for an instruction or more, as it suits whoever runs it.
  private var isQuiet = false

  init(seed: UInt64, compat: Bool, pages: Bool) throws {
    oracle = try OracleRun(seed: seed, compat: compat)
    self.compat = compat
    self.pages = pages
  }

  private mutating func random(_ range: ClosedRange<Int>) -> Int { oracle.random(range) }
  private mutating func chance(_ oneIn: Int) -> Bool { oracle.random(1...oneIn) == 1 }

  // MARK: Instructions

  /// Logic leaves AF clear on every processor, whatever the manuals promise.
  private static let templates: [InstructionTemplate] = {
    let families: [InstructionFamily] = [
      .alu, .test, .inc, .dec, .neg, .not, .mov, .movzx, .movsx, .lea, .xadd, .cmpxchg, .setcc, .cmovcc, .shift,
      .popcnt,
      .cbw, .lahf, .sahf, .flag, .xchg,
    ]
    return (OracleTemplates.chainable + OracleTemplates.general).filter { template in
      guard families.contains(template.family), template.undefined & ~OracleTemplates.AF == 0 else { return false }
      if template.undefined != 0 && template.family == .shift { return false }
      if template.family == .flag && template.opcode[0] >= 0xfc { return false }
      if template.family == .xchg && template.opcode[0] >= 0x90 { return false }
      // Moves of addresses as large as a word, and what is one instruction in a run of eight: not of RSP.
      return template.immediates.allSatisfy { $0 != .address } && !isOpcodeRegister(template)
    }.map {
      var template = $0
      template.isChained = true
      template.takesOddPrefixes = false
      return template
    }
  }()

  private static func isOpcodeRegister(_ template: InstructionTemplate) -> Bool {
    guard case .none = template.operands else { return false }
    return ![.alu, .test, .cbw, .lahf, .sahf, .flag].contains(template.family)
  }

  /// Instructions that leave some flags undefined; what follows defines them.
  private static let messy: [InstructionTemplate] = OracleTemplates.general.filter {
    [.shift, .shld, .shrd, .imul2, .imul3, .mul, .imul1, .bittest, .bsf, .bsr].contains($0.family)
  }.map {
    var template = $0
    template.isChained = true
    template.takesOddPrefixes = false
    return template
  }

  private static let vectors = LockstepRun.vectors

  private mutating func piece() -> [UInt8] {
    switch random(0...21) {
    case 0...8: return encoded(Self.templates)
    case 9, 10: return isTidy ? encoded(Self.templates) : encoded(Self.messy) + [0x39, 0xc1]
    case 11: return encoded(Self.vectors)
    case 12: return [0x9c, 0x58]  // pushf; pop rax
    case 13: return [0x68] + PagedProgram.little(flagsImage(), 4) + [0x9d]  // popf
    case 14: return reader()
    case 15: return pushesAndPops()
    case 16: return pages ? pointer() : writer()
    case 17: return pages ? [0xcd, 0x80] : writer()
    case 18: return string()
    case 19: return system()
    case 20: return cluster()
    default: return chance(4) ? [0xe6, 0x80] : writer()
    }
  }

  private mutating func encoded(_ list: [InstructionTemplate]) -> [UInt8] {
    while true {
      let template = list[random(0...list.count - 1)]
      // What is no instruction has no length to go on behind.
      if template.runs(compat: compat) && (compat || !template.isInvalid64) { return oracle.encode(template) }
    }
  }

  /// Writes all flags or all but CF, of registers.
  private mutating func writer() -> [UInt8] {
    let registers: [UInt8] = [0, 1, 2, 5]
    let modrm = 0xc0 | registers[random(0...3)] << 3 | registers[random(0...3)]
    let wide: [UInt8] = !compat && chance(2) ? [0x48] : []
    switch random(0...5) {
    case 0: return wide + [UInt8(random(0...7)) << 3 | 1, modrm]
    case 1: return [UInt8(random(0...7)) << 3, modrm & 0xdb]
    case 2: return wide + [0xff, 0xc0 | UInt8(random(0...1)) << 3 | registers[random(0...3)]]
    case 3: return wide + [0x83, 0xc0 | UInt8(random(0...7)) << 3 | registers[random(0...3)], UInt8(random(0...255))]
    case 4: return wide + [0xd1, 0xc0 | UInt8(random(0...3)) << 3 | registers[random(0...3)]]
    default: return wide + [0x85, modrm]
    }
  }

  /// Shows flags.
  private mutating func reader() -> [UInt8] {
    let registers: [UInt8] = [0, 1, 2, 5]
    let register = registers[random(0...3)]
    let condition = UInt8(random(0...15))
    switch random(0...5) {
    case 0: return [0x0f, 0x90 | condition, 0xc0 | register & 3]
    case 1: return [0x0f, 0x40 | condition, 0xc0 | register << 3 | registers[random(0...3)]]
    case 2: return [0x9f]
    case 3: return [0x11 | UInt8(random(0...1)) << 3, 0xc0 | register << 3 | registers[random(0...3)]]
    case 4: return [0x0f, 0x90 | condition, 0x43, UInt8(random(0...127))]  // setcc [rbx + disp8]
    default: return [0xd1, 0xd0 | UInt8(random(0...1)) << 3 | register]
    }
  }

  /// For POPF. What holds off interrupts or single-steps lets the test look between any two instructions.
  private mutating func flagsImage() -> UInt64 {
    var image = UInt64(random(0...0xfff)) & 0x8d5 | 0x3202
    if chance(6) { image ^= 0x400 }
    guard isTidy else { return image }
    if chance(3) { image ^= 0x200 }
    if chance(12) { image |= 0x100 }
    if chance(8) { image ^= [0x1000, 0x3000, 0x4000, 0x4_0000, 0x20_0000][random(0...4)] }
    return image
  }

  /// What only CPL 0 or IOPL may do, and what depends on FS and GS.
  private mutating func system() -> [UInt8] {
    switch random(0...11) {
    case 0, 1: return isTidy ? [0xfa] : [0xfc]  // cli; cld
    case 2, 3: return isQuiet ? [0xfb] : [0xfd]  // sti; std
    case 4: return [0x0f, 0x01, 0xf8]  // swapgs
    case 5: return [0xf3, 0x48, 0x0f, 0xae, 0xc0 | UInt8(random(0...1)) << 3 | 5]  // rdfsbase, rdgsbase rbp
    case 6: return [0xf3, 0x48, 0x0f, 0xae, 0xd0 | UInt8(random(0...1)) << 3 | 6]  // wrfsbase, wrgsbase rsi
    case 7: return [[0x64, 0x65][random(0...1)]] + (compat ? [] : [0x48]) + [0x8b, 0x45, UInt8(random(0...127))]
    case 8: return [[0x64, 0x65][random(0...1)], 0x01, 0x43, UInt8(random(0...127))]
    case 9: return pages ? [0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8] : [0x0f, 0x31]  // mov rax, cr3; mov cr3, rax; rdtsc
    case 10: return pages ? [0x0f, 0x01, 0x3b] : [0x0f, 0x01, 0xf8]  // invlpg [rbx]
    default: return [0x0f, 0x01, chance(2) ? 0xca : 0xcb]  // clac, stac
    }
  }

  /// Some pushes and as many pops, now and then with something between.
  private mutating func pushesAndPops() -> [UInt8] {
    func register(_ opcode: UInt8, _ number: Int) -> [UInt8] {
      let short = opcode | UInt8(number & 7)
      return number < 8 ? [short] : [0x41, short]
    }
    let kept: [Int] = [0, 1, 2, 5] + (compat ? [] : [8, 9, 10, 11, 12, 14, 15])
    let count = random(1...4)
    var code: [UInt8] = []
    for _ in 0..<count {
      code +=
        chance(6) ? [0x6a, UInt8(random(0...255))] : register(0x50, chance(8) ? 4 : kept[random(0...kept.count - 1)])
      if chance(5) { code += writer() }
    }
    for _ in 0..<count {
      if chance(5) { code += [0x8b, 0x44, 0x24, UInt8(random(0...3)) * 8] }  // mov eax, [rsp + disp8]
      code += register(0x58, kept[random(0...kept.count - 1)])
    }
    return code
  }

  /// A new address to one of the registers that operands are based on.
  private mutating func pointer() -> [UInt8] {
    let address = dataAddress()
    let register = [UInt8(3), 6, 7][random(0...2)]
    if !compat && chance(3) { return [0x41, 0xbd] + PagedProgram.little(address, 4) }
    return [0xb8 | register] + PagedProgram.little(address, 4)
  }

  /// Accesses by one base and index that lie close together, some with something between them.
  private mutating func cluster() -> [UInt8] {
    let base = UInt8([3, 6, 7][random(0...2)])
    let usesR9 = !compat && chance(3)
    // movzx ecx, cl; mov r9d, ecx
    var code: [UInt8] = [0x0f, 0xb6, 0xc9] + (usesR9 ? [0x41, 0x89, 0xc9] : [])
    let scale = UInt8(random(0...3))
    let start = random(-64...60)
    for _ in 0..<random(2...4) {
      let register = UInt8([0, 2, 5][random(0...2)])
      let sib = scale << 6 | 1 << 3 | base
      let disp = UInt8(truncatingIfNeeded: start + random(0...4) * 4)
      let place = [0x40 | register << 3 | 4, sib, disp]
      let wide: UInt8 = !compat && chance(2) ? 8 : 0
      let rex: UInt8 = wide | (usesR9 ? 2 : 0)
      let prefix: [UInt8] = rex != 0 ? [0x40 | rex] : []
      switch random(0...7) {
      case 0...2: code += prefix + [0x8b] + place
      case 3, 4: code += prefix + [0x89] + place
      case 5: code += prefix + [[0x01, 0x03, 0x3b][random(0...2)]] + place
      case 6: code += [0xf3] + prefix + [0x0f, 0x6f] + place  // movdqu
      default: code += [0x66] + prefix + [0x0f, 0x6f] + place  // movdqa
      }
      switch random(0...9) {
      case 0: code += usesR9 ? [0x49, 0x83, 0xc1, 4] : [0x83, 0xc1, 4]  // add
      case 1: code += [0x83, 0xc0 | base, 8]
      case 2: code += usesR9 ? [0x44, 0x0f, 0xb6, 0xc8] : [0x0f, 0xb6, 0xc8]  // movzx of al
      case 3: code += [0x39, 0xc1]
      default: break
      }
    }
    return code
  }

  /// REP STOS or MOVS of a few, or one step.
  private mutating func string() -> [UInt8] {
    let opcode: UInt8 = [0xaa, 0xab, 0xa4, 0xa5][random(0...3)]
    let wide: [UInt8] = !compat && opcode & 1 != 0 && chance(2) ? [0x48] : []
    if chance(2) { return wide + [opcode] }
    return [0xb9, UInt8(random(0...40)), 0, 0, 0, 0xf3] + wide + [opcode]
  }

  /// Accesses by registers that move by a constant each turn, or not at all; now and then a part of the turn is skipped.
  private mutating func stridedLoop(at index: Int) -> [PagedProgram.Block] {
    let wide: [UInt8] = compat ? [] : [0x48]
    var blocks = [
      PagedProgram.Block(pieces: [[0xb9] + PagedProgram.little(UInt64(random(2...150)), 4)], exit: .fallThrough)
    ]
    let first = index + 1
    let isSkipped = chance(3)
    for part in 0..<(isSkipped ? 3 : 1) {
      var pieces: [[UInt8]] = []
      for _ in 0..<random(1...4) {
        pieces.append(stridedAccess(keepsIndex: chance(2)))
        if chance(3) { pieces.append(writer()) }
        if chance(12) { pieces.append(piece()) }
      }
      blocks.append(PagedProgram.Block(pieces: pieces, exit: .fallThrough))
      if part == 0 && isSkipped { blocks[1].exit = .condition(UInt8(random(0...15)), first + 2) }
    }
    var moves: [[UInt8]] = []
    for base in [3, 6, 7] as [UInt8] where !chance(3) {
      let step = chance(6) ? random(-128...127) : [1, 2, 4, 8, 16, -1, -4, -8, -16, 32, 12, -24][random(0...11)]
      moves.append(wide + [0x83, 0xc0 | base, UInt8(truncatingIfNeeded: step)])
    }
    if !compat && chance(2) { moves.append([0x49, 0x83, 0xc1, UInt8(random(1...8))]) }  // add r9
    // An index about 0, which moves up or down, before or after it is used.
    let movesIndex = chance(3)
    if movesIndex {
      blocks[0].pieces.append([0xba] + PagedProgram.little(UInt64(bitPattern: Int64(random(-80...80))), 4))
      let move = wide + [0x83, 0xc2, UInt8(truncatingIfNeeded: [1, 1, 2, 3, -1, -2][random(0...5)])]
      blocks[1].pieces.insert(move, at: random(0...blocks[1].pieces.count))
    }
    let end = blocks.count - 1
    if chance(2) { blocks[end].pieces += moves } else { blocks[end].pieces = moves + blocks[end].pieces }
    blocks[end].pieces.append(wide + [0xff, 0xc9])
    blocks[end].exit = chance(8) ? .condition(UInt8(random(0...15)), first) : .condition(5, first)
    return blocks
  }

  private mutating func stridedAccess(keepsIndex: Bool) -> [UInt8] {
    let base = UInt8([3, 3, 6, 7][random(0...3)])
    let register = UInt8((keepsIndex ? [0, 5] : [0, 2, 5])[random(0...(keepsIndex ? 1 : 2))])
    let usesR9 = !compat && chance(6)
    let disp = UInt8(truncatingIfNeeded: random(-8...8) * 4)
    // [base + disp8], [base + index * scale + disp8], [esp + disp8]
    let index: UInt8 = chance(keepsIndex ? 2 : 4) ? 2 : 1
    let place: [UInt8]
    switch random(0...7) {
    case 0...3: place = [0x40 | register << 3 | base, disp]
    case 4: place = [0x44 | register << 3, 0x24, disp & 0x38]
    default: place = [0x44 | register << 3, UInt8(random(0...3)) << 6 | index << 3 | base, disp]
    }
    let rex: UInt8 = (!compat && chance(2) ? 8 : 0) | (usesR9 && place.count == 3 && place[1] != 0x24 ? 2 : 0)
    let prefix: [UInt8] = rex != 0 ? [0x40 | rex] : []
    switch random(0...9) {
    case 0...2: return prefix + [0x8b] + place
    case 3, 4: return prefix + [0x89] + place
    case 5, 6: return prefix + [[0x01, 0x03, 0x3b, 0x11][random(0...3)]] + place
    case 7: return [0xf3] + prefix + [0x0f, chance(2) ? 0x6f : 0x7f] + place  // movdqu
    case 8: return [0x66] + prefix + [0x0f, chance(2) ? 0x6f : 0x7f] + place  // movdqa
    default: return prefix + [0x8a] + place
    }
  }

  // MARK: Programs

  private mutating func dataAddress() -> UInt64 {
    let page: Int
    if pages {
      page = PagedMachine.dataPages[random(0...PagedMachine.dataPages.count - 1)]
    } else {
      page = 8 + random(0...11) / 5
    }
    var address = PagedMachine.window + UInt64(page) << 12
    switch random(0...5) {
    case 0, 1: address += UInt64(0x1000 - random(1...80))
    case 2 where pages: address = PagedMachine.boundary - UInt64(random(0...80))
    case 3 where pages: address = PagedMachine.boundary + UInt64(random(0...0xf00))
    case 4 where pages: address += UInt64(VM_TLB_SIZE) << 12
    default: address += UInt64(random(0...0xe00))
    }
    return address
  }

  private mutating func exit(_ count: Int, _ index: Int) -> PagedProgram.Exit {
    // Often near, also itself.
    let target = chance(3) ? index : random(0...count - 1)
    switch random(0...30) {
    case 0...2: return .fallThrough
    case 3, 4: return .jump(target)
    case 5...14: return .condition(UInt8(random(0...15)), target)
    // Past what follows: blocks that are translated as one.
    case 25...27: return .condition(UInt8(random(0...15)), min(index + random(1...3), count - 1))
    case 15, 16: return .count(0xe0 | UInt8(random(0...3)), target)
    case 17, 18: return .call(target)
    case 19, 20: return .ret
    case 21: return .register(target)
    case 22, 23: return .table(isCall: chance(3))
    case 28...30: return .stack(target, UInt8(random(0...15)) * 8, isCall: !chance(3))
    default: return chance(2) ? .undefined : .breakpoint
    }
  }

  /// A program of no blocks whose data pages are mapped.
  var pattern: PagedProgram {
    var generator = self
    var program = generator.program()
    program.blocks = []
    return program
  }

  mutating func program() -> PagedProgram {
    var program = PagedProgram(compat: compat, user: pages ? chance(2) : !chance(4))
    // Now and then blocks lie on both sides of a page's end, or across: there a block ends, and undefined flags show.
    isTidy = chance(2)
    isQuiet = isTidy && chance(3)
    program.start = isTidy && chance(2) ? 0x1000 - random(0...200) : random(0...0x600)
    let count = random(2...9)
    let loop = chance(2) ? random(0...count - 1) : -1
    for index in 0..<count {
      if index == loop { program.blocks += stridedLoop(at: program.blocks.count) }
      let pieces = (0..<random(0...5)).map { _ in piece() }
      program.blocks.append(PagedProgram.Block(pieces: pieces, exit: exit(count, index)))
    }
    let initial = oracle.initialState()
    withUnsafeBytes(of: initial.gpr) { gpr in
      for index in 0..<16 { program.registers[index] = gpr.load(fromByteOffset: index * 8, as: UInt64.self) }
    }
    for index in [3, 6, 7] { program.registers[index] = dataAddress() }
    if !compat { program.registers[13] = dataAddress() }
    program.registers[1] = UInt64(random(0...60))
    program.registers[4] = PagedMachine.window + 0xc000 - UInt64(random(0...32)) * 8
    program.registers[5] = PagedMachine.window + 0xc400
    program.flags = initial.flags & ~0x40000
    oracle.fillData()
    let start = NativeOracleMachine.dataOffset
    program.data = Array(oracle.window[start..<start + 0x1000])
    program.protects = !chance(4)
    program.threshold = [0, 0, 1, 2, 4][random(0...4)]
    program.patience = isQuiet ? 0 : random(1...4)
    program.smap = pages && chance(3)
    for page in PagedMachine.dataPages + [511] { program.entries.append((PagedMachine.tableEntry(page), entry(page))) }
    for page in 512...514 { program.entries.append((PagedMachine.tableEntry(page), entry(page))) }
    program.entries.append((PagedMachine.directoryEntry, directory()))
    if pages { program.entries.append((PagedMachine.tableEntry(1), secondPage())) }
    if pages { program.changes = (0..<random(1...12)).map { _ in change() } }
    // Long turns for loops, short ones to look between blocks.
    if chance(4) {
      program.turns = [(2000, true), (1000, false)]
    } else if chance(2) {
      for _ in 0..<random(2...5) { program.turns.append((random(20...200), chance(2))) }
    } else {
      for _ in 0..<random(10...40) { program.turns.append((random(1...20), chance(4))) }
    }
    return program
  }

  /// Whether a page is global does not change, so that a load of CR3 drops what it should.
  private func isGlobal(_ page: Int) -> Bool { page % 3 == 0 }

  private mutating func entry(_ page: Int) -> UInt64 {
    var value = PagedMachine.frame(random(4...27)) | 7
    // The page behind is a device's.
    guard pages else { return page == 10 ? PagedMachine.deviceFrame | 0x67 : value | 0x60 }
    if chance(20) { value = PagedMachine.deviceFrame | 7 }
    if isGlobal(page) { value |= 0x100 }
    if chance(6) { value &= ~1 }
    if chance(4) { value &= ~2 }
    if chance(6) { value &= ~4 }
    if chance(2) { value |= 0x20 }
    if chance(2) { value |= 0x60 }
    if chance(3) { value |= 1 << 63 }
    return value
  }

  /// The second page of code: as it was laid out, another, none.
  private mutating func secondPage() -> UInt64 {
    let value = PagedMachine.frame(chance(3) ? PagedMachine.otherCode : 1) | 0x27
    if chance(8) { return value & ~1 }
    return chance(8) ? value | 1 << 63 : value
  }

  private mutating func directory() -> UInt64 {
    if !pages || chance(2) { return PagedMachine.secondTable | 7 }
    var value = PagedMachine.largeFrame | 0x87
    if chance(3) { value &= ~2 }
    if chance(4) { value &= ~4 }
    if chance(2) { value |= 0x40 }
    return value
  }

  private mutating func change() -> PagedMachine.Change {
    switch random(0...9) {
    case 8, 9:
      return PagedMachine.Change(
        entry: PagedMachine.tableEntry(1), value: secondPage(), drop: chance(2) ? 0 : linear(1), alias: linear(1))
    case 0: return PagedMachine.Change(entry: 0, value: 0, drop: UInt64(random(0...1)))
    case 1: return PagedMachine.Change(entry: PagedMachine.directoryEntry, value: directory(), drop: 1)
    case 2:
      let page = 512 + random(0...2)
      return PagedMachine.Change(
        entry: PagedMachine.tableEntry(page), value: entry(page), drop: linear(page), alias: linear(page))
    default:
      let page = PagedMachine.dataPages[random(0...PagedMachine.dataPages.count - 1)]
      var change = PagedMachine.Change(entry: PagedMachine.tableEntry(page), value: entry(page), drop: 0)
      if isGlobal(page) || chance(2) {
        change.drop = linear(page)
        change.alias = linear(page) + UInt64(VM_TLB_SIZE) << 12
      }
      return change
    }
  }

  private func linear(_ page: Int) -> UInt64 { PagedMachine.window + UInt64(page) << 12 }
}
