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

  /// A register of 32-bit code has an upper half of zeros once it was written as such, until something else may be in it, and
  /// where ways meet only when it has on both. Strides count on it.
  @Test func anUpperHalfOfZerosIsKnownFromTheMomentItIsCleared() {
    let state = VerifierState()
    let place = Place(Host.rsi)
    #expect(!state.isShort(place), "64-bit code may have left something there")
    func cleared() {
      state.shiftLow(place, 4)
      #expect(state.isShort(place))
    }
    cleared()
    state.shift(place, 4)
    #expect(!state.isShort(place))
    cleared()
    state.set(Host.rsi, .own)
    #expect(!state.isShort(place))
    cleared()
    state.set(Host.rsi, .sum(Sum(Place(Host.rdi))))
    #expect(!state.isShort(place))
    state.set(Host.rsi, .own)
    cleared()
    state.spill(GuestRegisters.resident, changed: 1 << 6)
    #expect(!state.isShort(place))
    cleared()
    let other = VerifierState()
    other.take(state)
    #expect(other.isShort(place))
    #expect(!other.meet(state, isFinal: false) && other.isShort(place))
    other.clear()
    #expect(state.meet(other, isFinal: false) && !state.isShort(place))
  }

  /// As many turns as an index of 32 bits has until it wraps count only while its upper half is known to be zeros.
  @Test func turnsUntilAnIndexWrapsAreLearnedOnlyWithoutAnUpperHalf() throws {
    let corpus = try VerifierCorpus()
    let verifier = CodeVerifier(corpus.scratch.translator)
    let turns = HostValue.wrapTurns(Place(Host.rsi), isUp: true, bits: 2, isLess: true)
    let state = VerifierState()
    verifier.learnTurns(state, turns)
    #expect(state.factCount == 0)
    state.shiftLow(Place(Host.rsi), 4)
    verifier.learnTurns(state, turns)
    #expect(state.factCount == 1)
  }
}
