import Testing

@testable import X86

/// The verifier accepts what the translator emits, and nothing that is wrong.
@Suite struct CodeVerifierTests {
  /// Code that is refused though nothing wrong is known of it: an access of its strided body is not proved yet.
  private static let unproved: Set = ["64 matrix-product-6"]

  @Test(arguments: [false, true])
  func everyBlockOfTheTableIsAcceptedButTheOneThatIsNotProvedYet(countsAndIsCareful: Bool) throws {
    let corpus = try VerifierCorpus()
    let translator = corpus.scratch.translator
    translator.verifiesCode = true
    var refused: Set<String> = []
    var reasons: [String] = []
    for sample in corpus.samples {
      translator.onRefusal = {
        refused.insert(sample.name)
        reasons.append("\(sample.name): \($0)")
      }
      sample.block.pointee.careful = countsAndIsCareful ? 1 : 0
      _ = corpus.scratch.translate(sample.block, counts: countsAndIsCareful, observer: CodeObserver())
    }
    #expect(refused == Self.unproved, "refused:\n\(reasons.joined(separator: "\n"))")
    #expect(translator.statistics.verifiedBlocks == corpus.samples.count - refused.count)
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
