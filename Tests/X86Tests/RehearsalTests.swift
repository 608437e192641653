import CHost
import Testing

@testable import X86

@Suite struct RehearsalTests {
  /// The program must come to its HLT, or it warms nothing.
  @Test(arguments: Accelerator.allCases) func theProgramRunsToItsEnd(_ accelerator: Accelerator) {
    #expect(Rehearsal.run(profile: .x86_64_v2, accelerator: accelerator) == .halted)
  }
}
