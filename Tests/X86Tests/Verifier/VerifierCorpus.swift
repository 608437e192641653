import CHost
import Foundation

@testable import X86

/// Guest blocks whose code is verified: those of the table of host instructions, and some more.
final class VerifierCorpus {
  struct Sample {
    var name: String
    var machine: InterpreterMachine
    var block: UnsafeMutablePointer<vm_block>
  }

  let scratch: ScratchTranslator
  private(set) var samples: [Sample] = []

  init() throws {
    guard let scratch = ScratchTranslator() else {
      throw HostInstructionTable.SyntaxError(line: 0, what: "no executable memory")
    }
    self.scratch = scratch
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Translator/Tables/host-instructions.txt")
    for block in try HostInstructionTable(parsing: String(contentsOf: file, encoding: .utf8)).blocks {
      try add(block.name, bits: block.bits, block.rows.map(\.bytes))
    }
    // sub rsp, 0x200; mov [rsp+0x80], rax; call [rsp+0x80]
    try add(
      "call through a checked stack slot", bits: 64,
      [
        [0x48, 0x81, 0xec, 0, 2, 0, 0], [0x48, 0x89, 0x84, 0x24, 0x80, 0, 0, 0], [0xff, 0x94, 0x24, 0x80, 0, 0, 0],
      ])
    // mov eax, [ebx+8]; add ebx, 16; mov ecx, [ebx]; mov [ebx+4], edx
    try add(
      "32-bit accesses whose base moves between them", bits: 32,
      [[0x8b, 0x43, 0x08], [0x83, 0xc3, 0x10], [0x8b, 0x0b], [0x89, 0x53, 0x04]])
    // mov eax, [ebx]; add ebx, 0; mov ecx, [ebx+4]; add ebx, 8; sub ebx, 8; mov edx, [ebx+8]
    try add(
      "32-bit accesses whose base loses its upper half between them", bits: 32,
      [[0x8b, 0x03], [0x83, 0xc3, 0], [0x8b, 0x4b, 4], [0x83, 0xc3, 8], [0x83, 0xeb, 8], [0x8b, 0x53, 8]])
    // mov eax, [esp]; push eax; pop ecx; mov edx, [esp+4]
    try add(
      "32-bit accesses around a push and a pop", bits: 32,
      [[0x8b, 0x04, 0x24], [0x50], [0x59], [0x8b, 0x54, 0x24, 4]])
    // or byte [esi+4], 20h; lea esi, [esi]; mov byte [esi+5], 10h
    try add(
      "32-bit accesses around a NOP", bits: 32, [[0x80, 0x4e, 4, 0x20], [0x8d, 0x76, 0], [0xc6, 0x46, 5, 0x10]])
    // mov rax, [rbx]; sti; mov rdx, [rbx+8]
    try add(
      "an access behind a system instruction", bits: 64, [[0x48, 0x8b, 0x03], [0xfb], [0x48, 0x8b, 0x53, 0x08]])
    // mov [esp+8], eax; fld1; fstp dword [esp+0ch]; mov ecx, [esp+8]
    try add(
      "stack accesses around the first x87 instruction", bits: 32,
      [[0x89, 0x44, 0x24, 8], [0xd9, 0xe8], [0xd9, 0x5c, 0x24, 0x0c], [0x8b, 0x4c, 0x24, 8]])
    // mov [rsp+8], rax; movaps xmm0, xmm1; mov rcx, [rsp+8]
    try add(
      "stack accesses around the first vector instruction", bits: 64,
      [[0x48, 0x89, 0x44, 0x24, 8], [0x0f, 0x28, 0xc1], [0x48, 0x8b, 0x4c, 0x24, 8]])
    // push rax; fld1; push rcx; movaps xmm0, xmm1; pop rdx; pop rbx
    for bits in [32, 64] {
      try add(
        "pushes around the first x87 and vector instructions, \(bits)", bits: bits,
        [[0x50], [0xd9, 0xe8], [0x51], [0x0f, 0x28, 0xc1], [0x5a], [0x5b]])
    }
    // fld dword [eax+8]; fld dword [esi+24]; cmp byte [eax+16], 0; fmul dword [eax+12]
    try add(
      "accesses by EAX around x87 operands", bits: 32,
      [[0xd9, 0x40, 8], [0xd9, 0x46, 24], [0x80, 0x78, 16, 0], [0xd8, 0x48, 12]])
    // inc r13; cmp byte [r13-1], 0; jne
    try add(
      "a loop by a register that is exchanged", bits: 64,
      [[0x49, 0xff, 0xc5], [0x41, 0x80, 0x7d, 0xff, 0], [0x75, 0xf6]])
    // movzx r14d, byte [rax]; mov eax, r14d; movzx edx, byte [rax-0x7bd401c0]; mov eax, [rax*4-0x7bddfb40]
    try add(
      "tables by the lower half of a register in the state", bits: 64,
      [
        [0x44, 0x0f, 0xb6, 0x30], [0x44, 0x89, 0xf0], [0x0f, 0xb6, 0x90, 0x40, 0xfe, 0x2b, 0x84],
        [0x8b, 0x04, 0x85, 0xc0, 0x04, 0x22, 0x84],
      ])
    // xor r8d, r8d; mov rdx, [r15+r8*2]; test rdx, rdx; jz over; mov rdx, [r15+r8*2+8]; over: mov rsi, [r15+r8*2+16]
    try add(
      "an index that is known on one way", bits: 64,
      [
        [0x45, 0x31, 0xc0], [0x4b, 0x8b, 0x14, 0x47], [0x48, 0x85, 0xd2], [0x74, 0x05], [0x4b, 0x8b, 0x54, 0x47, 0x08],
        [0x4b, 0x8b, 0x74, 0x47, 0x10], [0xc3],
      ])
  }

  private func add(_ name: String, bits: Int, _ rows: [[UInt8]]) throws {
    let machine = try InterpreterMachine(bits: bits)
    let address = HostInstructionTable.address
    machine.write(rows.flatMap { $0 }, at: address)
    machine.cpu.translationThreshold = 0
    var block = try machine.cpu.findBlock(address, single: false)
    if Int(block.pointee.count) < rows.count { block = machine.cpu.makeRegion(block) ?? block }
    block.pointee.count = UInt16(rows.count)
    block.pointee.bytes = UInt16(rows.reduce(0) { $0 + $1.count })
    samples.append(Sample(name: "\(bits) \(name)", machine: machine, block: block))
  }
}

extension CodeMutation {
  /// Makes each fault in up to `sites` places of the corpus. Returns those that were accepted, and the faults for which there
  /// was no place.
  static func survivors(of corpus: VerifierCorpus, sites: Int) -> (survivors: [String], unused: [String], made: Int) {
    let translator = corpus.scratch.translator
    let reader = HostInstructionReader()
    var survivors: [String] = []
    var made = [Int](repeating: 0, count: all.count)
    translator.verifiesCode = true
    defer { translator.beforeVerifying = nil }
    for sample in corpus.samples {
      var wasRefused = false
      var length = 0
      translator.onRefusal = { _ in wasRefused = true }
      func translate(_ change: ((UnsafeMutablePointer<UInt8>, Int) -> Void)?) {
        wasRefused = false
        translator.beforeVerifying = change
        _ = corpus.scratch.translate(sample.block, counts: false, observer: CodeObserver())
      }
      func read(_ code: UnsafeMutablePointer<UInt8>, _ length: Int) -> Site {
        var instructions: [HostInstruction] = []
        var offset = 0
        while offset < length, let it = reader.read(code, offset, length) {
          instructions.append(it)
          offset += it.length
        }
        return Site(code: (0..<length).map { code[$0] }, instructions: instructions, index: 0)
      }
      var whole = Site(code: [], instructions: [], index: 0)
      translate { whole = read($0, $1) }
      guard !wasRefused else { continue }
      length = whole.instructions.count
      for (number, mutation) in all.enumerated() {
        for index in 0..<length where made[number] < sites {
          whole.index = index
          guard mutation.change(whole) != nil else { continue }
          var text = ""
          var isMade = false
          translate { code, bytes in
            var site = read(code, bytes)
            guard index < site.instructions.count else { return }
            site.index = index
            guard let changed = mutation.change(site), changed.count == site.it.length else { return }
            text =
              "+\(String(site.it.offset, radix: 16)) \(HostInstruction.text(code + site.it.offset, bytes - site.it.offset))"
            for (place, byte) in changed.enumerated() { code[site.it.offset + place] = byte }
            isMade = true
          }
          guard isMade else { continue }
          made[number] += 1
          if !wasRefused { survivors.append("\(mutation.name) in \(sample.name), \(text)") }
        }
      }
    }
    let unused = all.indices.filter { made[$0] == 0 }.map { all[$0].name }
    return (survivors, unused, made.reduce(0, +))
  }
}
