import Testing

@testable import Machine

/// What a Linux kernel's header allows (Linux, Documentation/arch/x86/boot.rst).
@Suite struct LinuxImageTests {
  private func image(
    version: UInt16 = 0x20F, high: Bool = true, line: UInt32 = 2047, preferred: UInt32 = 1 << 24,
    size: UInt32 = 8 << 20,
    initrdTop: UInt32 = 0x7FFF_FFFF, paragraphs: UInt32 = (0x4000 - 2560) / 16
  ) throws -> LinuxImage {
    var bytes = [UInt8](repeating: 0, count: 0x4000)
    func put(_ value: UInt32, _ offset: Int) {
      for i in 0..<4 { bytes[offset + i] = UInt8(value >> UInt32(i * 8) & 255) }
    }
    bytes.replaceSubrange(0x202..<0x206, with: Array("HdrS".utf8))
    (bytes[0x206], bytes[0x207], bytes[0x211]) = (UInt8(version & 255), UInt8(version >> 8), high ? 1 : 0)
    put(line, 0x238)
    put(paragraphs, 0x1F4)
    put(preferred, 0x258)
    put(size, 0x260)
    put(initrdTop, 0x22C)
    return try #require(LinuxImage(bytes))
  }

  @Test func itFitsExactlyOrIsRefused() throws {
    let image = try image()
    let memory: UInt64 = 32 << 20
    try image.check(initrd: 8 << 20, commandLine: 2047, memory: memory)
    #expect(throws: MachineError.kernelDoesNotFit(bytes: (32 << 20) + 1, memory: memory)) {
      try image.check(initrd: 8 << 20 + 1, commandLine: 0, memory: memory)
    }
    #expect(throws: MachineError.commandLineTooLong(characters: 2048, limit: 2047)) {
      try image.check(initrd: 0, commandLine: 2048, memory: memory)
    }
    // The highest address that an initrd may have.
    #expect(throws: MachineError.self) {
      try self.image(initrdTop: (24 << 20) - 1).check(initrd: 4096, commandLine: 0, memory: 1 << 30)
    }
  }

  @Test func aFileThatWasCutShortIsRefused() throws {
    let whole: UInt32 = (0x4000 - 2560) / 16
    // The last paragraph need not be whole.
    try image(paragraphs: whole).check(initrd: 0, commandLine: 0, memory: 1 << 30)
    #expect(throws: MachineError.kernelCutShort(bytes: 0x4000, of: 0x4010)) {
      try image(paragraphs: whole + 1).check(initrd: 0, commandLine: 0, memory: 1 << 30)
    }
  }

  @Test func oldKernelsHaveTheirLimits() throws {
    #expect(try image(version: 0x205).commandLineLimit == 255)
    #expect(try image(line: 1 << 20).commandLineLimit == 2047)
    #expect(throws: MachineError.linuxTooOld) {
      try image(version: 0x201).check(initrd: 0, commandLine: 0, memory: 1 << 30)
    }
    #expect(throws: MachineError.linuxTooOld) {
      try image(high: false).check(initrd: 0, commandLine: 0, memory: 1 << 30)
    }
    #expect(LinuxImage([UInt8](repeating: 0, count: 100)) == nil)
  }
}
