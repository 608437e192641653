import Testing

@testable import X86

/// The accelerator of the machines that a test makes.
enum TestAccelerator {
  @TaskLocal static var current = Accelerator.interpreter

  /// The translator translates at once, so that short tests meet it at all.
  static func apply(to cpu: CPU) {
    cpu.accelerator = current
    cpu.translationThreshold = 0
    requireProof(of: cpu)
  }

  /// Host code that the verifier cannot prove fails the test, which has a fault of the translator or of the verifier.
  static func requireProof(of cpu: CPU) {
    cpu.verifiesCode = true
    cpu.onRefusal = { Issue.record("host code was refused: \($0)") }
  }
}

/// Runs each test of a suite twice: in the interpreter, then in the translator.
struct BothAcceleratorsTrait: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    for accelerator in [Accelerator.interpreter, .translator] {
      try await TestAccelerator.$current.withValue(accelerator) { try await function() }
    }
  }
}

extension Trait where Self == BothAcceleratorsTrait {
  static var bothAccelerators: Self { Self() }
}
