import CHost
import Foundation
import GuestAssembly
import GuestMemory
import Testing

@testable import X86

/// CPUs of one machine, each on a thread of its own: 64-bit flat code without paging.
private final class ParallelMachine: @unchecked Sendable {
  let memory: PhysicalMemory
  let cpus: [CPU]

  init(cpus count: Int) throws {
    memory = try PhysicalMemory(size: 4 << 20)
    cpus = CPUGroup().makeFlatCPUs(count, memory: memory)
    for cpu in cpus {
      TestAccelerator.apply(to: cpu)
      cpu.s.slots[Reg.rsp] = UInt64(0x8000 + cpu.index * 0x1000)
    }
  }

  func write(_ bytes: [UInt8], at address: UInt64) { bytes.withUnsafeBytes { memory.write(address, from: $0) } }

  func write(_ code: String, bits: Int = 64, at address: UInt64, symbols: [String: UInt64] = [:]) throws {
    write(try GuestCode.assemble(code, bits: bits, origin: address, symbols: symbols), at: address)
  }

  /// Runs all until each has halted; the first that halts with `unless` false stops the others.
  func run(unless: @escaping @Sendable (CPU) -> Bool = { _ in true }) {
    DispatchQueue.concurrentPerform(iterations: cpus.count) { index in
      _ = cpus[index].run(budget: 1 << 40)
      if !unless(cpus[index]) { for cpu in cpus { cpu.post(UInt32(VM_PENDING_STOP)) } }
    }
  }
}

@Suite(.serialized, .bothAccelerators) struct SeveralCPUsTests {
  /// Plain memory, a page crossing, a page that holds running code.
  @Test(arguments: [0x10000, 0x10ffd, 0x1800] as [UInt64])
  func lockedAdditionsAreNeverLost(at counter: UInt64) throws {
    let machine = try ParallelMachine(cpus: 3)
    let rounds = 3000
    try machine.write("mov ecx, \(rounds); again: lock inc qword ptr [rbx]; dec ecx; jne again; hlt", at: 0x1000)
    for cpu in machine.cpus {
      cpu.s.pointee.rip = 0x1000
      cpu.s.slots[Reg.rbx] = counter
    }
    machine.run()
    #expect(machine.memory.read(counter, as: UInt64.self) == UInt64(3 * rounds))
  }

  @Test func aLockTakenByXCHGKeepsOthersOut() throws {
    let machine = try ParallelMachine(cpus: 2)
    let rounds = 3000
    try machine.write(
      """
      mov ecx, \(rounds)
      again: mov eax, 1; xchg [rdi], eax; test eax, eax; pause; jne again
      inc qword ptr [rbx]; mov dword ptr [rdi], 0; dec ecx; jne again; hlt
      """, at: 0x1000)
    for cpu in machine.cpus {
      cpu.s.pointee.rip = 0x1000
      cpu.s.slots[Reg.rbx] = 0x10000
      cpu.s.slots[Reg.rdi] = 0x11000
    }
    machine.run()
    #expect(machine.memory.read(0x10000, as: UInt64.self) == UInt64(2 * rounds))
  }

  /// The protocol of the Intel SDM, vol. 3A, 8.1.3: one CPU writes code and a flag, the other sees the flag, serialises
  /// and runs the code.
  @Test func codeWrittenByAnotherCPURunsAfterASerialisingInstruction() throws {
    let machine = try ParallelMachine(cpus: 2)
    let rounds = 3000
    // The constant is the round.
    try machine.write("mov eax, 0; ret", at: 0x2000)
    try machine.write(
      """
      mov esi, 1
      again: cmp [rdi], esi; jne again; xor eax, eax; cpuid; call written; cmp eax, esi; jne done
      mov [rdi + 64], esi; inc esi; cmp esi, \(rounds + 1); jne again; done: hlt
      """, at: 0x1000, symbols: ["written": 0x2000])
    try machine.write(
      """
      mov esi, 1
      again: mov [rbp], esi; mov [rdi], esi; answer: cmp [rdi + 64], esi; jne answer
      inc esi; cmp esi, \(rounds + 1); jne again; hlt
      """, at: 0x3000)
    for cpu in machine.cpus {
      cpu.s.pointee.rip = cpu.index == 0 ? 0x1000 : 0x3000
      cpu.s.slots[Reg.rdi] = 0x10000
      cpu.s.slots[Reg.rbp] = 0x2001
    }
    let last = UInt64(rounds + 1)
    machine.run(unless: { $0.s.slots[Reg.rsi] == last })
    #expect(machine.cpus[0].s.slots[Reg.rsi] == last)
    #expect(machine.cpus[1].s.slots[Reg.rsi] == last)
  }

  @Test func aStartedCPUBeginsAtTheVectorsPage() throws {
    let machine = try ParallelMachine(cpus: 2)
    let cpu = machine.cpus[1]
    cpu.reset()
    #expect(cpu.run(budget: 10) == .halted)
    #expect(cpu.s.pointee.activity == UInt32(VM_WAIT_FOR_SIPI))
    try machine.write("mov ax, 0x1234; hlt", bits: 16, at: 0x9000)
    cpu.post(UInt32(VM_PENDING_INIT))
    cpu.s.pointee.startup_vector = 9
    cpu.post(UInt32(VM_PENDING_SIPI))
    #expect(cpu.run(budget: 10) == .halted)
    #expect(cpu.s.slots[Reg.rax] == 0x1234)
    #expect(cpu.segmentRegister(Seg.cs).pointee.selector == 0x900)
  }

  @Test func cpuidTellsTheTopology() throws {
    let machine = try ParallelMachine(cpus: 3)
    func query(_ cpu: Int, _ leaf: UInt64, _ subleaf: UInt64 = 0) throws -> [UInt64] {
      let slots = machine.cpus[cpu].s.slots
      slots[Reg.rax] = leaf
      slots[Reg.rcx] = subleaf
      try machine.cpus[cpu].executeModelSpecific(.cpuid)
      return [slots[Reg.rax], slots[Reg.rbx], slots[Reg.rcx], slots[Reg.rdx]]
    }
    let first = try query(2, 1)
    #expect(first[1] >> 24 == 2 && first[1] >> 16 & 0xff == 4 && first[3] >> 28 & 1 == 1)
    #expect(try query(1, 0xb, 0) == [0, 1, 0x100, 1])
    #expect(try query(1, 0xb, 1) == [2, 3, 0x201, 1])
    #expect(try query(1, 4)[0] >> 26 == 3)
  }
}
