import Testing

@testable import X86

/// The verifier accepts what the translator emits, and nothing that is wrong.
@Suite struct CodeVerifierTests {
  @Test(arguments: [false, true])
  func everyBlockOfTheTableIsAccepted(countsAndIsCareful: Bool) throws {
    let corpus = try VerifierCorpus()
    let translator = corpus.scratch.translator
    translator.verifiesCode = true
    var refused: [String] = []
    for sample in corpus.samples {
      translator.onRefusal = { refused.append("\(sample.name): \($0)") }
      sample.block.pointee.careful = countsAndIsCareful ? 1 : 0
      _ = corpus.scratch.translate(sample.block, counts: countsAndIsCareful, observer: CodeObserver())
    }
    #expect(refused.isEmpty, "refused:\n\(refused.joined(separator: "\n"))")
    #expect(translator.statistics.verifiedBlocks == corpus.samples.count)
  }

  @Test func instructionsOfAKnownFormAreReadAsZydisDecodesThem() throws {
    let corpus = try VerifierCorpus()
    let reader = HostInstructionReader()
    let plain = HostInstructionReader()
    var read = 0
    corpus.scratch.translator.verifiesCode = true
    corpus.scratch.translator.beforeVerifying = { code, length in
      for _ in 0..<2 {
        var offset = 0
        while offset < length, let it = reader.read(code, offset, length) {
          #expect(it == plain.decode(code, offset, length))
          // What is cut off is no instruction, however much of its form is there.
          #expect(reader.read(code, offset, offset + it.length - 1) == nil)
          offset += it.length
          read += 1
        }
        #expect(offset == length)
      }
    }
    defer { corpus.scratch.translator.beforeVerifying = nil }
    for sample in corpus.samples { _ = corpus.scratch.translate(sample.block, counts: false, observer: CodeObserver()) }
    #expect(read > 10_000)
  }

  /// Each fault is tried where it can be made, in every block of the table, up to this many times.
  private static let sites = 5

  @Test func everyDeliberateFaultOfEmissionIsRefused() throws {
    let corpus = try VerifierCorpus()
    let result = CodeMutation.survivors(of: corpus, sites: Self.sites)
    #expect(result.unused.isEmpty, "faults that were never made: \(result.unused)")
    #expect(result.survivors.isEmpty, "accepted:\n\(result.survivors.joined(separator: "\n"))")
    #expect(CodeMutation.all.count >= 60)
    #expect(result.made >= 300)
  }
}
