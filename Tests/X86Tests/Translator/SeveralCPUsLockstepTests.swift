import CHost
import Foundation
import GuestAssembly
import GuestMemory
import Testing

@testable import X86

/// Several CPUs of one machine run random streams whose result does not depend on who comes first: interpreter and
/// translator must both come to it.
private final class StreamMachine: @unchecked Sendable {
  static let shared: UInt64 = 0x20000
  static let sharedBytes = 0x3000
  static let own: UInt64 = 0x40000
  static let code: UInt64 = 0x80000

  let memory: PhysicalMemory
  let cpus: [CPU]

  init(cpus count: Int, _ accelerator: Accelerator) throws {
    memory = try PhysicalMemory(size: 4 << 20)
    cpus = CPUGroup().makeFlatCPUs(count, memory: memory)
    for (index, cpu) in cpus.enumerated() {
      cpu.accelerator = accelerator
      cpu.translationThreshold = UInt8(index & 1) * 3
      cpu.s.slots[Reg.rsp] = Self.own + UInt64(index + 1) * 0x4000 - 0x100
      cpu.s.slots[Reg.rbx] = Self.shared
      cpu.s.slots[Reg.rsi] = Self.own + UInt64(index) * 0x4000
      cpu.s.slots[Reg.rdi] = UInt64(index + 1) &* 0x9e37_79b9_7f4a_7c15
      cpu.s.pointee.rip = Self.code + UInt64(index) * 0x4000
    }
  }

  func write(_ bytes: [UInt8], at address: UInt64) { bytes.withUnsafeBytes { memory.write(address, from: $0) } }

  /// Each on a thread of its own, or one after another; false when one has not halted long after it should have.
  func run(together: Bool) -> Bool {
    let budget = 1 << 35
    if !together { return cpus.allSatisfy { $0.run(budget: budget) == .halted } }
    let done = DispatchGroup()
    for index in cpus.indices {
      done.enter()
      // Not a queue: that has no more threads than the host has processors.
      Thread.detachNewThread { [self] in
        _ = cpus[index].run(budget: budget)
        done.leave()
      }
    }
    if done.wait(timeout: .now() + 600) == .timedOut {
      for cpu in cpus { cpu.post(UInt32(VM_PENDING_STOP)) }
      done.wait()
    }
    return cpus.allSatisfy { $0.s.pointee.activity == UInt32(VM_HALTED) }
  }

  /// Where each CPU is, and in what round.
  var places: String {
    cpus.map { "\(String($0.s.pointee.rip, radix: 16)) \($0.s.slots[Reg.rsi])" }.joined(separator: ", ")
  }

  func bytes(_ start: UInt64, _ count: Int) -> [UInt8] {
    let ram = memory.ram + Int(start)
    return Array(UnsafeRawBufferPointer(start: ram, count: count))
  }
}

/// Code of one CPU, in bytes as it is made at random: operations on shared memory that commute, and on memory and
/// registers of its own between.
private struct StreamGenerator {
  var generator: SplitMix

  init(seed: UInt64) { generator = SplitMix(state: seed) }

  mutating func random(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }

  static func little(_ value: Int, _ count: Int = 4) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }

  /// lock OP [rbx + disp32], rAX or an immediate, of 1 to 8 bytes. AND clears a bit, OR sets one, XOR turns some.
  private mutating func locked() -> [UInt8] {
    let size = [1, 2, 4, 8][random(0...3)]
    let prefix: [UInt8] = (size == 2 ? [0x66] : []) + [0xf0] + (size == 8 ? [0x48] : [])
    let wide: UInt8 = size == 1 ? 0 : 1
    // By width, so that carries of one do not run into another's.
    let lane = [1: 0, 2: 1, 4: 2, 8: 3][size]!
    func at(_ kind: Int, _ this: inout StreamGenerator) -> [UInt8] {
      let slot = kind * 0x200 + lane * 0x80 + this.random(0...7) * 16
      // Now and then across a line's or a page's end.
      let odd = kind * 4 + lane
      let place = this.random(0...5) == 0 && size > 1 ? 0x2000 + odd * 0x40 + 0x40 - size / 2 : slot
      let page = this.random(0...9) == 0 && size == 8 && kind == 0 ? 0x2000 - 4 : place
      return Self.little(page)
    }
    switch random(0...7) {
    case 0: return prefix + [wide, 0x83] + at(0, &self)  // add [m], rAX
    case 1: return prefix + [0x28 | wide, 0x83] + at(0, &self)  // sub
    case 2: return prefix + [0x08 | wide, 0x83] + at(1, &self)  // or
    case 3: return prefix + [0x20 | wide, 0x83] + at(2, &self)  // and
    case 4: return prefix + [0x30 | wide, 0x83] + at(3, &self)  // xor
    case 5: return prefix + [0xfe | wide, 0x83 | UInt8(random(0...1)) << 3] + at(0, &self)  // inc, dec
    case 6: return prefix + [0x0f, 0xc0 | wide, 0x83] + at(0, &self) + forget(0)  // xadd, whose sum is another's
    default:
      // lock btc [m], imm8
      let bits = size == 1 ? 32 : size * 8
      let operand: [UInt8] = size == 1 ? [0xf0] : prefix
      return operand + [0x0f, 0xba, 0xbb] + at(4, &self) + [UInt8(random(0...bits - 1))]
    }
  }

  /// What another CPU's turn has to do with is forgotten: the register is given a value, the flags are too.
  private mutating func forget(_ register: UInt8) -> [UInt8] {
    [0xb8 | register] + Self.little(random(0...Int(Int32.max))) + [0x39, 0xc0 | register << 3 | register]
  }

  /// mov eax, [m]; again: mov ecx, eax; add ecx, imm8; lock cmpxchg [m], ecx; jne again
  private mutating func exchangeLoop() -> [UInt8] {
    let place = Self.little(0x1800 + random(0...7) * 8)
    let loop: [UInt8] = [0x89, 0xc1, 0x83, 0xc1, UInt8(random(1...100)), 0xf0, 0x0f, 0xb1, 0x8b] + place
    return [0x8b, 0x83] + place + loop + [0x75, UInt8(256 - loop.count - 2)] + forget(0) + forget(1)
  }

  /// Something of this CPU's own, in RAX, RCX, RDX, RDI and at RSI.
  private mutating func own() -> [UInt8] {
    let registers: [UInt8] = [0, 1, 2, 7]
    let one = registers[random(0...3)]
    let two = registers[random(0...3)]
    switch random(0...6) {
    case 0: return [0x48, UInt8([0, 1, 4, 5, 6][random(0...4)]) << 3 | 1, 0xc0 | one << 3 | two]
    case 1: return [0x48, 0x89, 0x86 | one << 3] + Self.little(random(0...255) * 8)
    case 2: return [0x48, 0x03, 0x86 | one << 3] + Self.little(random(0...255) * 8)
    case 3: return [0x48, 0x69, 0xc0 | one << 3 | two] + Self.little(random(0...0xffff_ffff)) + [0x39, 0xc0]
    case 4: return [0x50 | one, 0x58 | two]
    case 5: return [0x0f, 0x90 | UInt8(random(0...15)), 0xc0 | UInt8(random(0...2))]
    default: return [0x48, 0x0f, 0xc8 | one]
    }
  }

  /// mov r12d, rounds; again: ...; dec r12d; jne again; hlt
  mutating func stream() -> [UInt8] {
    var body: [UInt8] = []
    // Flags and registers hold only what is this CPU's own: they are defined before they are read.
    for _ in 0..<random(10...30) {
      switch random(0...3) {
      case 0: body += own()
      case 1: body += exchangeLoop()
      default: body += locked() + [0x48, 0x39, 0xff]
      }
    }
    let code = [0x41, 0xbc] + Self.little(random(50...200))
    let back = -(body.count + 3 + 6)
    return code + body + [0x41, 0xff, 0xcc, 0x0f, 0x85] + Self.little(back) + [0xf4]
  }
}

@Suite(.serialized) struct SeveralCPUsLockstepTests {
  @Test(arguments: [(2, 61), (2, 62), (4, 63), (4, 64)] as [(Int, UInt64)])
  func streamsOfOperationsThatCommuteComeToTheSame(count: Int, seed: UInt64) throws {
    for round in 0..<12 as Range<UInt64> {
      var generator = StreamGenerator(seed: seed &* 1000 &+ round)
      let streams = (0..<count).map { _ in generator.stream() }
      let start = (0..<StreamMachine.sharedBytes).map { _ in UInt8(generator.random(0...255)) }
      func machine(_ accelerator: Accelerator) throws -> StreamMachine {
        let machine = try StreamMachine(cpus: count, accelerator)
        for (index, code) in streams.enumerated() {
          machine.write(code, at: StreamMachine.code + UInt64(index) * 0x4000)
        }
        machine.write(start, at: StreamMachine.shared)
        return machine
      }
      let alone = try machine(.interpreter)
      #expect(alone.run(together: false))
      for accelerator in [Accelerator.interpreter, .translator] {
        let together = try machine(accelerator)
        #expect(together.run(together: true), "\(accelerator), seed \(seed), round \(round)")
        let same = together.bytes(StreamMachine.shared, StreamMachine.sharedBytes)
        #expect(
          same == alone.bytes(StreamMachine.shared, StreamMachine.sharedBytes),
          "\(accelerator), seed \(seed), round \(round)")
        let own = together.bytes(StreamMachine.own, 0x4000 * count)
        #expect(own == alone.bytes(StreamMachine.own, 0x4000 * count), "\(accelerator), seed \(seed), round \(round)")
        for (one, other) in zip(together.cpus, alone.cpus) {
          for register in 0..<16 {
            #expect(
              one.s.slots[register] == other.s.slots[register],
              "\(accelerator), seed \(seed), round \(round), CPU \(one.index), register \(register)")
          }
          #expect(
            one.flagsImage() == other.flagsImage(), "\(accelerator), seed \(seed), round \(round), CPU \(one.index)")
        }
      }
    }
  }

  /// The protocol of the Intel SDM, vol. 3A, 8.1.3, with code at random: one CPU writes an instruction and a RET, then the
  /// round's number; the others see that, serialise, call what was written and answer.
  @Test(
    arguments: [(2, 71), (4, 72)] as [(Int, UInt64)],
    [StreamMachine.code + 0x800, 0x90000, 0x90ffd, 0x90ff8] as [UInt64])
  func codeWrittenAtRandomByAnotherCPURunsOnceSerialised(cpus: (count: Int, seed: UInt64), slot: UInt64) throws {
    // Who spins keeps a processor from others for as long as the host lets it.
    let rounds = cpus.count == 2 ? 150 : 20
    var generator = StreamGenerator(seed: cpus.seed &+ slot)
    var expected: UInt32 = 1
    var written: [[UInt8]] = []
    for _ in 0..<rounds {
      let value = UInt32(generator.random(0...Int(UInt32.max)))
      let immediate = StreamGenerator.little(Int(value))
      switch generator.random(0...4) {
      case 0:
        written.append([0x41, 0x81, 0xc1] + immediate + [0xc3])  // add r9d, imm32
        expected &+= value
      case 1:
        written.append([0x41, 0x81, 0xf1] + immediate + [0xc3])  // xor
        expected ^= value
      case 2:
        written.append([0x41, 0x81, 0xe9] + immediate + [0xc3])  // sub
        expected &-= value
      case 3:
        written.append([0x45, 0x8d, 0x89] + immediate + [0xc3])  // lea r9d, [r9 + disp32]
        expected &+= value
      default:
        let count = value & 31
        written.append([0x41, 0xc1, 0xc1, UInt8(count), 0xc3, 0xcc, 0xcc, 0xcc])  // rol r9d, imm8
        expected = expected << count | (count == 0 ? 0 : expected >> (32 - count))
      }
    }
    for accelerator in [Accelerator.interpreter, .translator] {
      let machine = try StreamMachine(cpus: cpus.count, accelerator)
      let flag = StreamMachine.shared
      for (index, cpu) in machine.cpus.enumerated() {
        cpu.s.slots[Reg.rdi] = flag
        cpu.s.slots[9] = 1
        let address = StreamMachine.code + UInt64(index) * 0x4000
        if index == 0 {
          cpu.s.slots[Reg.rbx] = slot
          cpu.s.slots[8] = 0x30000 - 8
          let answers = (1..<cpus.count).map { "1: cmp [rdi + \($0 * 0x80)], esi; jne 1b" }.joined(separator: "; ")
          let writer = """
            mov esi, 1; again: mov rax, [r8 + rsi * 8]; mov [rbx], rax; mov [rdi], esi; \(answers)
            inc esi; cmp esi, \(rounds + 1); jne again; hlt
            """
          machine.write(try GuestCode.assemble(writer, bits: 64), at: address)
        } else {
          cpu.s.slots[Reg.rbp] = flag + UInt64(index) * 0x80
          cpu.s.slots[10] = slot
          let reader = """
            mov esi, 1; again: cmp [rdi], esi; jne again; xor eax, eax; cpuid; call r10; mov [rbp], esi
            inc esi; cmp esi, \(rounds + 1); jne again; hlt
            """
          machine.write(try GuestCode.assemble(reader, bits: 64), at: address)
        }
      }
      for (index, code) in written.enumerated() { machine.write(code, at: 0x30000 + UInt64(index) * 8) }
      machine.write([0xc3], at: slot)
      #expect(
        machine.run(together: true),
        "\(accelerator), slot \(String(slot, radix: 16)): somebody did not come to an end: \(machine.places)")
      for cpu in machine.cpus.dropFirst() {
        #expect(cpu.s.slots[9] == UInt64(expected), "\(accelerator), CPU \(cpu.index)")
      }
    }
  }
}
