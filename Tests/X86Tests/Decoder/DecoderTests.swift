import Testing

@testable import X86

/// The decoder through the disassembler: lengths and operands as the manual has them.
@Suite struct DecoderTests {
  struct Case: CustomStringConvertible, Sendable {
    var bits: Int
    var bytes: [UInt8]
    var text: String
    var description: String { "\(bits) \(text)" }
  }

  static let cases: [Case] = [
    Case(bits: 64, bytes: [0x48, 0x01, 0xd8], text: "add rax, rbx"),
    Case(bits: 64, bytes: [0x03, 0xc3], text: "add eax, ebx"),
    Case(bits: 64, bytes: [0x02, 0xe1], text: "add ah, cl"),
    Case(bits: 64, bytes: [0x40, 0x02, 0xe1], text: "add spl, cl"),
    Case(bits: 64, bytes: [0x4d, 0x8b, 0x44, 0x8d, 0x10], text: "mov r8, qword ptr [r13+rcx*4+0x10]"),
    Case(bits: 64, bytes: [0x8b, 0x05, 0x10, 0, 0, 0], text: "mov eax, dword ptr [rip+0x10]"),
    Case(bits: 64, bytes: [0x8b, 0x04, 0x25, 0x10, 0, 0, 0], text: "mov eax, dword ptr [0x10]"),
    Case(bits: 64, bytes: [0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0], text: "mov rax, qword ptr gs:[0x28]"),
    Case(bits: 64, bytes: [0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], text: "mov rax, 0x807060504030201"),
    Case(bits: 64, bytes: [0x66, 0xb8, 1, 2], text: "mov ax, 0x201"),
    Case(bits: 64, bytes: [0x41, 0x57], text: "push r15"),
    Case(bits: 64, bytes: [0x6a, 0xff], text: "push 0xffffffffffffffff"),
    Case(bits: 64, bytes: [0xe8, 0xfb, 0xff, 0xff, 0xff], text: "call 0x1000"),
    Case(bits: 64, bytes: [0x0f, 0x84, 0, 1, 0, 0], text: "je 0x1106"),
    Case(bits: 64, bytes: [0x63, 0xd0], text: "movsxd edx, eax"),
    Case(bits: 64, bytes: [0x48, 0x63, 0x10], text: "movsxd rdx, dword ptr [rax]"),
    Case(bits: 64, bytes: [0x0f, 0xb6, 0xc4], text: "movzx eax, ah"),
    Case(bits: 64, bytes: [0x48, 0x0f, 0xbe, 0x07], text: "movsx rax, byte ptr [rdi]"),
    Case(bits: 64, bytes: [0xf0, 0x48, 0x0f, 0xb1, 0x0f], text: "lock cmpxchg qword ptr [rdi], rcx"),
    Case(bits: 64, bytes: [0xf3, 0x48, 0xab], text: "rep stosq"),
    Case(bits: 64, bytes: [0xf3, 0x90], text: "pause"),
    Case(bits: 64, bytes: [0x49, 0x90], text: "xchg r8, rax"),
    Case(bits: 64, bytes: [0x0f, 0x1f, 0x44, 0, 0], text: "nop dword ptr [rax+rax*1]".replacing("*1", with: "")),
    Case(bits: 64, bytes: [0x48, 0xd3, 0xe0], text: "shl rax, cl"),
    Case(bits: 64, bytes: [0xc1, 0xf8, 0x1f], text: "sar eax, 0x1f"),
    Case(bits: 64, bytes: [0xf6, 0x07, 1], text: "test byte ptr [rdi], 0x1"),
    Case(bits: 64, bytes: [0x66, 0xf7, 0x07, 1, 2], text: "test word ptr [rdi], 0x201"),
    Case(bits: 64, bytes: [0x0f, 0x22, 0xd8], text: "mov cr3, rax"),
    Case(bits: 64, bytes: [0x0f, 0x01, 0xf8], text: "swapgs"),
    Case(bits: 64, bytes: [0x48, 0x0f, 0xc7, 0x0f], text: "cmpxchg16b [rdi]"),
    Case(bits: 64, bytes: [0xf3, 0x48, 0x0f, 0xb8, 0xc1], text: "popcnt rax, rcx"),
    Case(bits: 64, bytes: [0xf3, 0x0f, 0xc7, 0xf8], text: "rdpid rax"),
    Case(bits: 64, bytes: [0x66, 0xf3, 0x41, 0x0f, 0xc7, 0xff], text: "rdpid r15"),
    Case(bits: 64, bytes: [0x0f, 0xc7, 0xf8], text: "(bad)"),
    Case(bits: 64, bytes: [0xf3, 0x0f, 0xc7, 0x3f], text: "(bad)"),
    Case(bits: 64, bytes: [0x67, 0x8b, 0x07], text: "mov eax, dword ptr [edi]"),
    Case(bits: 64, bytes: [0x06], text: "(bad)"),
    Case(bits: 32, bytes: [0x40], text: "inc eax"),
    Case(bits: 32, bytes: [0x06], text: "push es"),
    Case(bits: 32, bytes: [0xa1, 1, 2, 3, 4], text: "mov eax, dword ptr [0x4030201]"),
    Case(bits: 32, bytes: [0xea, 1, 2, 3, 4, 8, 0], text: "jmpf 0x8:0x4030201"),
    Case(bits: 32, bytes: [0xc8, 0x10, 0, 2], text: "enter 0x10, 0x2"),
    Case(bits: 32, bytes: [0x66, 0xf3, 0x0f, 0xc7, 0xf8], text: "rdpid eax"),
    Case(bits: 32, bytes: [0x66, 0xe5, 0x60], text: "in ax, 0x60"),
    Case(bits: 32, bytes: [0x67, 0x8b, 0x40, 0xfe], text: "mov eax, dword ptr [bx+si-0x2]"),
    Case(bits: 16, bytes: [0x8b, 0x46, 0x04], text: "mov ax, word ptr [bp+0x4]"),
    Case(bits: 16, bytes: [0x8b, 0x1e, 0x34, 0x12], text: "mov bx, word ptr [0x1234]"),
    Case(bits: 16, bytes: [0x66, 0xb8, 1, 2, 3, 4], text: "mov eax, 0x4030201"),
    Case(bits: 16, bytes: [0x2e, 0xff, 0x2e, 0x10, 0], text: "jmpf cs:[0x10]"),
    Case(bits: 16, bytes: [0xf3, 0x26, 0xa4], text: "rep movsb"),
    Case(bits: 16, bytes: [0xe9, 0xfd, 0xff], text: "jmp 0x1000"),
    Case(bits: 16, bytes: [0x67, 0x66, 0x8b, 0x04, 0x5d, 0, 0, 1, 0], text: "mov eax, dword ptr [ebx*2+0x10000]"),
    Case(bits: 16, bytes: [0xc5, 0x37], text: "lds si, [bx]"),
  ]

  @Test(arguments: cases)
  func bytesReadAsTheManualSays(_ item: Case) {
    let found = Disassembler.instruction(item.bytes + [0x90, 0x90], bits: item.bits, address: 0x1000)
    #expect(found.text == item.text)
    #expect(found.length == item.bytes.count)
  }

  @Test func anyBytesDecodeWithoutHarm() {
    var seed: UInt64 = 1
    for round in 0..<20_000 {
      var bytes: [UInt8] = []
      for _ in 0..<16 {
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        bytes.append(UInt8(truncatingIfNeeded: seed >> 33))
      }
      let length = Disassembler.instruction(
        Array(bytes.prefix(1 + round % 16)), bits: [16, 32, 64][round % 3], address: 0
      ).length
      #expect((1...15).contains(length))
    }
  }
}
