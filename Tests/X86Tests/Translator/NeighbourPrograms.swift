import CHost

@testable import X86

/// What stands beside a form of the instruction table: accesses by the base that its own operand has, so that one check
/// serves all, and users of the translator's temporaries.
enum Neighbour: String, CaseIterable {
  case load, store, change, vector, push, pop, exchange, compareExchange, bitString, byteHigh, string, call
}

/// What an operand's address, and its neighbours', is made of.
enum NeighbourBase: String, CaseIterable {
  case rsp, rbp, rbx, indexed, absolute
}

/// One form of the instruction table beside each neighbour: a block for each, which runs the neighbour, the form, the
/// neighbour again, and counts in a byte of its own that it has come to its end.
struct NeighbourProgram {
  var template: InstructionTemplate
  /// One for all blocks; nil: each in turn, so that each neighbour has one of them and each base several neighbours.
  var base: NeighbourBase?
  /// Whether the form's operand is in memory; nil for a form that has none.
  var isMemory: Bool?
  var compat: Bool
  var user: Bool
  /// Chooses among sizes, registers and displacements.
  var variant: Int

  /// Where blocks count: behind the table of jump targets.
  static let marks: UInt64 = 0x800

  /// What may stand beside every form, in the order of the blocks.
  static let neighbours = Neighbour.allCases

  private var wide: [UInt8] { compat ? [] : [0x48] }
  private var cs: UInt8 { compat ? (user ? 0x23 : 0x08) : (user ? 0x33 : 0x10) }
  private var ss: UInt8 { user ? 0x2b : 0x18 }

  // MARK: Operands

  /// ModRM and what follows of an operand `disp` bytes from the base's address, for register or digit `reg` (0 to 7).
  private func operand(_ reg: UInt8, _ disp: UInt8) -> [UInt8] {
    let middle = reg << 3
    switch base ?? .rsp {
    case .rsp: return [0x44 | middle, 0x24, disp]
    case .rbp: return [0x45 | middle, disp]
    case .rbx: return [0x43 | middle, disp]
    case .indexed: return [0x44 | middle, 0x8e, disp]  // [rsi + rcx * 4 + disp8]
    case .absolute:
      let target = PagedProgram.little(PagedMachine.window + 0x8200 + UInt64(disp), 4)
      return compat ? [0x05 | middle] + target : [0x04 | middle, 0x25] + target
    }
  }

  /// Displacements of the accesses before, in and behind the form: close together, the form's a multiple of 16.
  private func displacement(_ place: Int) -> UInt8 {
    UInt8([[0x08, 0x20, 0x30], [0x28, 0x10, 0x00], [0x10, 0x10, 0x10]][variant % 3][place])
  }

  // MARK: Pieces

  private func code(_ neighbour: Neighbour, _ place: Int) -> [UInt8] {
    let disp = displacement(place)
    switch neighbour {
    case .load: return [0x8b] + operand(2, disp)
    case .store: return wide + [0x89] + operand(2, disp)
    case .change: return [0x01] + operand(2, disp)
    case .vector: return [0xf3, 0x0f, 0x6f] + operand(1, disp)
    case .push: return compat ? [0x52] : [0x41, 0x52]  // push edx, push r10
    case .pop: return compat ? [0x5a] : [0x41, 0x5e]  // pop edx, pop r14
    case .exchange: return compat ? [0x87] + operand(2, disp) : [0x4c, 0x87] + operand(6, disp)  // xchg [m], r14
    case .compareExchange: return [0xf0, 0x0f, 0xb1] + operand(2, disp)
    case .bitString: return [0x0f, 0xab] + operand(2, disp)
    case .byteHigh: return [0x02] + operand(6, disp) + [0x88, 0xf4]  // add dh, [m]; mov ah, dh
    case .string: return wide + [0xa5]
    case .call: return next(store(disp), [0xff] + operand(2, disp))
    }
  }

  /// RAX to the base's address plus `disp`, of pointer width.
  private func store(_ disp: UInt8) -> [UInt8] { wide + [0x89] + operand(0, disp) }

  /// EAX or RAX becomes the address behind `rest` and `code`, which follow.
  private func next(_ rest: [UInt8], _ code: [UInt8]) -> [UInt8] {
    let distance = UInt8(rest.count + code.count)
    // lea rax, [rip + distance]; or call to the next, pop eax, add eax, distance
    let load: [UInt8] =
      compat ? [0xe8, 0, 0, 0, 0, 0x58, 0x83, 0xc0, distance + 4] : [0x48, 0x8d, 0x05, distance, 0, 0, 0]
    return load + rest + code
  }

  /// Every base at its address. Of a data page's end now and then, where accesses lie in two pages.
  private func bases(_ block: Int) -> [UInt8] {
    let window = PagedMachine.window
    let crosses = (variant &+ block) % 4 == 3
    func load(_ register: UInt8, _ value: UInt64) -> [UInt8] { [0xb8 | register] + PagedProgram.little(value, 4) }
    return load(4, window + (crosses ? 0xc000 - 0x18 : 0xbe00)) + load(5, window + (crosses ? 0xc000 - 0x20 : 0xbf00))
      + load(3, window + (crosses ? 0x9000 - 0x20 : 0x8100)) + load(6, window + (crosses ? 0x9000 - 0x2c : 0x8400))
      + load(7, window + 0x8800) + load(1, 3) + load(2, UInt64(variant & 31))
  }

  /// The form with its prologue, which gives what it reads a meaning.
  private func form(_ block: Int) -> [UInt8] {
    let disp = displacement(1)
    let seed = variant &+ block
    var prefix: [UInt8] = []
    var rex: UInt8 = 0
    var size = 4
    if let wide = template.wide {
      if wide { rex = 0x48 }
    } else if template.sizes {
      if seed % 5 == 1 && !isFarDirect { prefix = [0x66]; size = 2 }
      if !compat && seed % 3 == 2 { rex = 0x48 }
    }
    if rex & 8 != 0 { size = 8 }
    var register = UInt8([0, 2, 2, 0][seed & 3])
    if !compat && seed % 3 == 1 {
      rex |= 0x44
      register = UInt8([0, 1, 2, 6][seed / 3 & 3])  // r8, r9, r10, r14
    }
    func modrm(_ digit: UInt8) -> [UInt8] {
      if isMemory == true { return operand(digit, disp) }
      // Of indirect branches RAX has the target.
      let isTarget = template.family == .callIndirect || template.family == .jmpIndirect
      let rm = UInt8(isTarget ? 0 : [0, 2][seed / 2 & 1])
      return [0xc0 | digit << 3 | rm]
    }
    var tail: [UInt8] = []
    switch template.operands {
    case .none: break
    case .any, .memory, .register: tail = modrm(register)
    case .digit(let digit), .digitMemory(let digit), .digitRegister(let digit):
      tail = modrm(digit)
      rex &= 0x48
    case .fixed(let byte):
      tail = [byte]
      rex &= 0x48
    }
    if rex == 0x40 { rex = 0 }
    let isBranch: Bool =
      switch template.family {
      case .jcc, .jmp, .call, .loop, .jcxz: true
      default: false
      }
    for immediate in template.immediates {
      switch immediate {
      case .byte where template.system == .int: tail.append([3, 4, 0x80][seed % 3])
      case .byte: tail.append(isBranch ? 0 : [1, 8, 3, 0x80, 0x1f][seed % 5])
      case .nibble: tail.append(UInt8(seed & 15))
      case .word: tail += [8, 0]
      case .operandSize:
        tail += isBranch ? [UInt8](repeating: 0, count: min(size, 4)) : Array([0x11, 0x80, 0, 0x7f][0..<min(size, 4)])
      case .wideOperandSize: tail += PagedProgram.little(0x1122_3344_5566_7788, size)
      case .selector: tail += [cs, 0]
      case .address: tail += PagedProgram.little(PagedMachine.window + 0x8200, compat ? 4 : 8)
      }
    }
    let code = prefix + template.prefix + (rex != 0 ? [rex] : []) + template.opcode + tail
    return prologue(code, size) + (template.undefined != 0 ? [0x39, 0xc1] : [])
  }

  private func prologue(_ code: [UInt8], _ size: Int) -> [UInt8] {
    let disp = displacement(1)
    let pushSelector: [UInt8] = [0x6a, cs]
    switch template.family {
    case .callIndirect, .jmpIndirect: return next(isMemory == true ? store(disp) : [], code)
    case .ret: return next([0x50], code)
    case .lods, .movs, .stos, .scas, .cmps: return [0xfc] + code
    default: break
    }
    switch template.system {
    case .farCallIndirect, .farJumpIndirect:
      // mov [m], eax; mov word [m + 4], cs
      return next([0x89] + operand(0, disp) + [0x66, 0xc7] + operand(0, disp + 4) + [cs, 0], code)
    case .loadFarPointer:
      // mov word [m + size], ss
      return [0x66, 0xc7] + operand(0, disp + UInt8(size)) + [ss, 0] + code
    case .farReturn: return next(pushSelector + [0x50], code)
    case .interruptReturn:
      return compat
        ? next([0x9c] + pushSelector + [0x50], code)
        : next([0x6a, ss, 0x54, 0x9c] + pushSelector + [0x50], code)
    case .popFlags: return [0x68, 0x02, 0x32, 0, 0] + code
    case .movToSegment, .popSegment, .lldt, .verr, .verw, .lar, .lsl:
      let value: [UInt8] = [0xb8, ss, 0, 0, 0] + (isMemory == true ? store(disp) : [0x89, 0xc2])
      return value + (template.system == .popSegment ? [0x50] : []) + code
    default: return code
    }
  }

  /// add byte [mark], 1
  private func mark(_ block: Int) -> [UInt8] {
    let place = PagedProgram.little(PagedMachine.window + 0x3000 + Self.marks + UInt64(block), 4)
    return [0x80] + (compat ? [0x05] : [0x04, 0x25]) + place + [1]
  }

  /// The base that block `index` has.
  func base(of index: Int) -> NeighbourBase {
    base ?? NeighbourBase.allCases[(index &+ variant) % NeighbourBase.allCases.count]
  }

  private func block(_ index: Int) -> NeighbourProgram {
    var copy = self
    copy.base = base(of: index)
    return copy
  }

  // MARK: The program

  /// The form's last bytes are an offset and a selector: it goes on behind itself.
  private var isFarDirect: Bool { template.system == .farCallDirect || template.system == .farJumpDirect }

  func program(like pattern: PagedProgram) -> PagedProgram {
    var program = pattern
    let count = Self.neighbours.count
    program.variant(variant)
    var address = PagedMachine.window + UInt64(program.start)
    program.blocks = Self.neighbours.enumerated().map { index, neighbour in
      let block = self.block(index)
      var pieces = [
        bases(index), block.code(neighbour, 0), block.form(index), block.code(neighbour, 2), mark(index),
      ]
      let behind = address + UInt64(pieces[0...2].reduce(0) { $0 + $1.count })
      if isFarDirect {
        pieces[2].replaceSubrange(pieces[2].count - 6..<pieces[2].count - 2, with: PagedProgram.little(behind, 4))
      }
      // A jump is 5 bytes long.
      address += UInt64(pieces.reduce(0) { $0 + $1.count } + 5)
      return PagedProgram.Block(pieces: pieces, exit: .jump((index + 1) % count))
    }
    program.user = user
    return program
  }
}

extension PagedProgram {
  /// Straight through, each block translated when it is first run or the second time.
  fileprivate mutating func variant(_ number: Int) {
    start = 0x40
    threshold = UInt8(number & 1)
    patience = 0
    turns = [(700, false), (700, false)]
  }
}
