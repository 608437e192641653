import Testing
@testable import Machine
@Suite struct MachineErrorTests {
  @Test func anErrorSaysWhatToDo() { #expect(MachineError("a", remedy: "b").description == "a; b") }
}
