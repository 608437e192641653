import CHost
import GuestAssembly
import Testing

@testable import X86

/// A debugger's stops: exact, whatever executes the code, and without a trace in the guest.
@Suite(.bothAccelerators) struct DebuggerStopTests {
  /// Code before and from the place of a stop on.
  private func machine(_ before: String, _ behind: String, at address: UInt64 = InterpreterMachine.code) throws -> (
    InterpreterMachine, UInt64
  ) {
    let machine = try InterpreterMachine(bits: 64)
    try machine.write("\(before)\n\(behind)\nhlt", at: address)
    machine.cpu.s.pointee.rip = address
    // What reset leaves there.
    machine[Reg.rdx] = 0
    let stop = address + UInt64(try GuestCode.assemble(before, bits: 64, origin: address).count)
    return (machine, stop)
  }

  private func goOn(_ cpu: CPU) -> RunExit {
    cpu.passDebuggerBreakpoint()
    return cpu.run(budget: 1 << 40)
  }

  @Test func aBreakpointInAHotLoopStopsBeforeItsInstruction() throws {
    let (machine, stop) = try machine("mov ecx, 50000; top: add rax, 1", "lea rbx, [rax + rax]; dec ecx; jnz top")
    let cpu = machine.cpu
    #expect(cpu.run(budget: 40000) == .budget)
    cpu.setDebuggerStops(breakpoints: [stop], watchpoints: [])
    for _ in 0..<50 {
      let before = machine[Reg.rax]
      #expect(goOn(cpu) == .debugger)
      #expect(cpu.s.pointee.rip == stop && cpu.takeDebuggerHit() == .breakpoint(stop))
      // The first stop may come before the loop's counter has gone on.
      #expect(machine[Reg.rax] &- before <= 1 && machine[Reg.rbx] == (machine[Reg.rax] - 1) * 2)
    }
    cpu.setDebuggerStops(breakpoints: [], watchpoints: [])
    #expect(goOn(cpu) == .halted)
    #expect(machine[Reg.rax] == 50000 && machine[Reg.rbx] == 100_000)
  }

  @Test func itCountsEachTimeAndOnlyAtItsAddress() throws {
    // The same offset in another page is passed by.
    let (machine, stop) = try machine("mov ecx, 300; top: mov r9d, 0x2000; call r9", "inc rdx; dec ecx; jnz top")
    let offset = stop & 0xfff
    try machine.write("mov r10d, \(0x2000 + offset); jmp r10", at: 0x2000)
    try machine.write("inc rsi; ret", at: 0x2000 + offset)
    let cpu = machine.cpu
    cpu.setDebuggerStops(breakpoints: [stop], watchpoints: [])
    var stops = 0
    while goOn(cpu) == .debugger {
      #expect(cpu.takeDebuggerHit() == .breakpoint(stop))
      #expect(machine[Reg.rdx] == UInt64(stops) && machine[Reg.rsi] == UInt64(stops + 1))
      stops += 1
    }
    #expect(stops == 300 && machine[Reg.rdx] == 300)
  }

  @Test func anInstructionInTwoPagesHasBreakpointsToo() throws {
    // mov r8, imm64 from 0x1ffc on.
    let (machine, _) = try machine("mov ecx, 200; top: inc rax; mov r9d, 0x1ffc; jmp r9", "nop")
    let top = InterpreterMachine.code + 5
    try machine.write("mov r8, 0x1122334455667788; mov r10d, \(top); dec ecx; jz 1f; jmp r10; 1: hlt", at: 0x1ffc)
    let cpu = machine.cpu
    #expect(cpu.run(budget: 500) == .budget)
    let before = machine[Reg.rax]
    cpu.setDebuggerStops(breakpoints: [0x1ffc], watchpoints: [])
    var stops = 0
    while goOn(cpu) == .debugger {
      #expect(cpu.s.pointee.rip == 0x1ffc && cpu.takeDebuggerHit() == .breakpoint(0x1ffc))
      stops += 1
    }
    #expect(machine[Reg.rax] == 200 && stops <= 200 - Int(before) + 1 && stops >= 200 - Int(before))
  }

  @Test func aWatchpointStopsBehindTheAccessAndNowhereElse() throws {
    let (machine, behind) = try machine(
      """
      mov ecx, 20000
      top: mov [0x10000], ecx; mov [0x10ff0], rax; mov rbx, [0x10008]; inc rax; mov rsi, 0x10009; mov rdi, 0x20009
      cmp ecx, 5000; cmovne rsi, rdi; mov dword ptr [rsi], 1
      """, "inc rdx; dec ecx; jnz top")
    let cpu = machine.cpu
    #expect(cpu.run(budget: 20000) == .budget)
    let write = Watchpoint(address: 0x1000a, length: 2, access: .write)
    cpu.setDebuggerStops(breakpoints: [], watchpoints: [write])
    #expect(goOn(cpu) == .debugger)
    #expect(cpu.takeDebuggerHit() == .watchpoint(write))
    #expect(cpu.s.pointee.rip == behind && machine[Reg.rcx] == 5000 && machine[Reg.rdx] == 15000)
    let read = Watchpoint(address: 0x1000f, length: 1, access: .read)
    cpu.setDebuggerStops(breakpoints: [], watchpoints: [read])
    #expect(goOn(cpu) == .debugger)
    #expect(cpu.takeDebuggerHit() == .watchpoint(read))
    #expect(machine[Reg.rcx] == 4999 && machine[Reg.rbx] == 0x100 && machine[Reg.rdx] == 15001)
    cpu.setDebuggerStops(breakpoints: [], watchpoints: [])
    #expect(goOn(cpu) == .halted)
    #expect(machine[Reg.rcx] == 0 && machine[Reg.rax] == 20000)
  }

  @Test func stringInstructionsAndThePushesOfCallsAreSeen() throws {
    let (machine, behind) = try machine("mov edi, 0x10000; mov ecx, 4096; mov al, 7; rep stosb", "nop; call 1f; 1: nop")
    let cpu = machine.cpu
    let inside = Watchpoint(address: 0x10800, length: 4, access: .any)
    let stack = Watchpoint(address: InterpreterMachine.stack - 8, length: 8, access: .write)
    cpu.setDebuggerStops(breakpoints: [], watchpoints: [inside, stack])
    #expect(goOn(cpu) == .debugger)
    #expect(cpu.takeDebuggerHit() == .watchpoint(inside))
    #expect(machine[Reg.rdi] > 0x10800 && cpu.s.pointee.rip <= behind)
    while goOn(cpu) == .debugger, cpu.debugger.hit == .watchpoint(inside) { _ = cpu.takeDebuggerHit() }
    #expect(cpu.takeDebuggerHit() == .watchpoint(stack))
    #expect(machine[Reg.rsp] == InterpreterMachine.stack - 8)
    #expect(goOn(cpu) == .halted)
  }

  @Test func aStepIsOneInstructionWithoutInterrupts() throws {
    let machine = try SystemMachine()
    try machine.enterProtected()
    machine.haltOnEvents()
    try machine.code("inc ebx; mov ecx, 2; rep movsb; ud2")
    machine.cpu.slots[Reg.rbx] = 0
    machine.cpu.s.pointee.eflags |= EFLAGS.if
    machine.environment.vector = 0x30
    machine.cpu.s.pointee.rip = 0x1000
    machine.cpu.post(UInt32(VM_PENDING_INTERRUPT))
    let before = machine.cpu.s.pointee.instructions
    var places: [UInt64] = []
    for _ in 0..<4 {
      machine.cpu.stepOne()
      places.append(machine.cpu.s.pointee.rip)
    }
    // REP's first turn leaves RIP at it.
    #expect(places == [0x1001, 0x1006, 0x1006, 0x1008])
    #expect(machine.cpu.slots[Reg.rbx] == 1 && machine.cpu.s.pointee.instructions >= before)
    machine.cpu.stepOne()
    // The exception has been delivered, nothing of its handler has run.
    #expect(machine.cpu.s.pointee.rip != 0x1008 && machine.cpu.s.pointee.rip != 0x100a)
    // The interrupt comes when the CPU runs on.
    #expect(vm_load_relaxed(&machine.cpu.s.pointee.pending) & UInt32(VM_PENDING_INTERRUPT) != 0)
  }

  @Test func registersGoThereAndBack() throws {
    let machine = try InterpreterMachine(bits: 64)
    let cpu = machine.cpu
    let values: [(DebuggerRegister, [UInt8])] = [
      (.general(12), [1, 2, 3, 4, 5, 6, 7, 0x80]), (.instructionPointer, [0, 0x20, 0, 0, 0, 0, 0, 0]),
      (.st(3), [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]), (.xmm(15), Array(1...16)), (.mxcsr, [0x80, 0x1f, 0, 0]),
      (.segmentBase(5), [0, 0, 0, 0, 0x80, 0x88, 0xff, 0xff]),
    ]
    for (register, value) in values {
      #expect(cpu.debuggerWrite(register, value), "\(register)")
      #expect(cpu.debuggerRead(register) == value, "\(register)")
    }
    #expect(cpu.debuggerWrite(.flags, [0xd5, 8, 0, 0, 0, 0, 0, 0]))
    #expect(machine.flags == 0x8d5)
    // Not canonical; and what stays the guest's.
    #expect(!cpu.debuggerWrite(.instructionPointer, [0, 0, 0, 0, 0, 0, 0, 1]))
    #expect(!cpu.debuggerWrite(.control(0), [0, 0, 0, 0, 0, 0, 0, 0]))
    #expect(cpu.debuggerWrite(.control(0), cpu.debuggerRead(.control(0))))
    #expect(!cpu.debuggerWrite(.selector(1), [9, 9]))
  }
}
