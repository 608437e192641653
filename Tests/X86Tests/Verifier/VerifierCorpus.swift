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
