import Testing
import X86

@testable import Machine

@Suite struct CPUPortabilityTests {
  private func profile(_ name: String, _ level: Int) throws -> CPUProfile {
    var configuration = MachineConfiguration()
    configuration.cpuProfile = name
    configuration.cpuidPortabilityLevel = level
    return try CPUPart.profile(of: configuration)
  }

  @Test func eachLevelTakesWhatItSaysAndNothingElse() throws {
    let full = try profile("x86-64-v2-extended", 0)
    #expect(full.leaves == CPUProfile.named("x86-64-v2-extended")?.leaves)
    func bits(_ list: [Int]) -> UInt32 { list.reduce(0) { $0 | 1 << UInt32($1) } }
    // SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; FSGSBASE, SMEP, SMAP; UMIP; RDTSCP.
    var expected = full
    func take(_ leaf: UInt32, ebx: [Int] = [], ecx: [Int] = [], edx: [Int] = []) {
      var answer = expected.query(leaf, 0)
      answer.ebx &= ~bits(ebx)
      answer.ecx &= ~bits(ecx)
      answer.edx &= ~bits(edx)
      expected = expected.setting(answer)
    }
    take(1, ecx: [9, 13, 19, 20, 23])
    take(7, ebx: [0, 7, 20], ecx: [2])
    take(0x8000_0001, edx: [27])
    #expect(try profile("x86-64-v2-extended", 1) == expected)
    take(1, ecx: [0])
    take(0x8000_0001, ecx: [0])
    #expect(try profile("x86-64-v2-extended", 2) == expected)
    take(1, edx: [15, 19, 25, 26])
    #expect(try profile("x86-64-v2-extended", 3) == expected)
    // What a guest needs to keep its clock stays.
    #expect(expected.query(7, 0).ebx == bits([1, 9]))
  }

  @Test func twoModelsBecomeOneToTheGuestButForTheirNames() throws {
    func features(_ name: String) throws -> [CPUIDLeaf] {
      try profile(name, 1).leaves.filter { !(0x8000_0002...0x8000_0004).contains($0.leaf) }
    }
    #expect(try features("x86-64-v2") == features("x86-64-v2-extended"))
  }

  @Test func aLeafThatIsSetByHandIsTheLastWord() throws {
    var configuration = MachineConfiguration()
    configuration.cpuidPortabilityLevel = 3
    configuration.cpuidOverrides = [.init(leaf: 1, subleaf: 0, registers: [1, 2, 3, 4])]
    #expect(try CPUPart.profile(of: configuration).query(1, 0) == CPUIDLeaf(1, eax: 1, ebx: 2, ecx: 3, edx: 4))
  }
}
