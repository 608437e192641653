import CHost

/// Names for what host code refers to: places in the block and outside, fields of the CPU's state.
struct CodeNames {
  /// Of the code that is read.
  var start: UnsafeMutablePointer<UInt8>
  private let length: Int
  private let places: [UnsafeMutablePointer<UInt8>: String]

  init(translator: Translator, start: UnsafeMutablePointer<UInt8>, length: Int) {
    self.start = start
    self.length = length
    places = [
      translator.stepThunk: "interpreter", translator.plainStepThunk: "interpreter",
      translator.exitThunk: "dispatcher", translator.vectorThunk: "load vectors", translator.x87Thunk: "load x87",
      translator.lookupThunk: "jump cache", translator.displacedThunk: "jump cache",
    ]
  }

  /// The text of an instruction `offset` bytes into the code, branch targets by name and fields noted behind it.
  func text(_ instruction: HostDisassembler.Instruction, _ offset: Int) -> String {
    if let branch = instruction.branch, let space = instruction.text.lastIndex(of: " ") {
      let target = offset + branch
      let word = instruction.text[..<space]
      if target >= 0 && target < length { return "\(word) +\(CodeNames.hex(target, 4))" }
      return "\(word) \(places[start + target] ?? "another block")"
    }
    guard let state = instruction.state, let name = CodeNames.field(state.displacement, state.isIndexed) else {
      return instruction.text
    }
    return "\(instruction.text)  ; \(name)"
  }

  static func hex(_ value: some BinaryInteger, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }

  // MARK: Fields

  private static func field(_ displacement: Int, _ isIndexed: Bool) -> String? {
    let offset = displacement + GuestRegisters.bias
    if isIndexed {
      let entry = MemoryLayout<vm_tlb_entry>.stride
      if offset >= CPU.pageAddendsOffset { return "addend" }
      if offset >= CPU.jumpCacheOffset { return "jump cache" }
      guard offset >= CPU.tlbOffset else { return nil }
      switch (offset - CPU.tlbOffset) % entry {
      case 0: return "read tag"
      case 8: return "write tag"
      case 16: return "addend"
      default: return "TLB"
      }
    }
    if offset >= MicroTLB.offset {
      return "micro-TLB entry \((offset - MicroTLB.offset) / MemoryLayout<vm_tlb_entry>.stride)"
    }
    if offset >= InlineCaches.offset {
      return "inline cache \((offset - InlineCaches.offset) / MemoryLayout<vm_jump_entry>.stride)"
    }
    if offset >= StateField.xmm && offset < StateField.xmm + 256 { return "xmm\((offset - StateField.xmm) / 16)" }
    return fields[displacement]
  }

  private static let fields: [Int: String] = {
    var list: [Int: String] = [:]
    for guest in 0..<16 as Range<UInt8> {
      list[displacement(GuestRegisters.slot(guest))] = "guest \(Disassembler.register(guest, 8))"
    }
    for segment in 0..<6 {
      let base = StateField.segments + segment * MemoryLayout<vm_segment>.stride - GuestRegisters.bias
      list[base] = "\(Disassembler.segments[segment]) base"
    }
    let named: [(HostOperand, String)] = [
      (StateField.pending, "pending"), (StateField.rawFlags, "flags"), (StateField.rip, "rip"),
      (StateField.page, "page"),
      (StateField.budget, "budget"), (StateField.jumpKey, "jump key"), (StateField.leftBy, "left by"),
      (StateField.exit, "exit"), (StateField.vectorReady, "vectors loaded"), (StateField.x87Ready, "x87 loaded"),
      (StateField.plainSegments, "plain segments"), (StateField.x87Instruction, "x87 instruction"),
      (StateField.x87Data, "x87 data"), (StateField.x87Opcode, "x87 opcode"), (StateField.mxcsr, "mxcsr"),
    ]
    for (operand, name) in named { list[displacement(operand)] = name }
    return list
  }()

  private static func displacement(_ operand: HostOperand) -> Int {
    if case .memory(_, _, _, let disp) = operand { return Int(disp) }
    return .max
  }
}
