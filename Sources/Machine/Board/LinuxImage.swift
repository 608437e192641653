import GuestMemory

/// What a Linux kernel's setup header says of what it can be given (Linux, Documentation/arch/x86/boot.rst), as the boot ROM
/// reads it (firmware/boot/loader.c): what that would have to refuse on the machine's console is refused before it starts.
struct LinuxImage {
  private let bytes: [UInt8]

  /// Nil when the file has no such header, or not all of it.
  init?(_ bytes: [UInt8]) {
    // The fields up to protocol 2.10.
    guard Self.isOne(bytes), bytes.count > 0x264 else { return nil }
    self.bytes = bytes
  }

  /// Whether a file has the signature of a bzImage's header.
  static func isOne(_ bytes: [UInt8]) -> Bool {
    bytes.count > 0x206 && bytes[0x202..<0x206].elementsEqual([0x48, 0x64, 0x72, 0x53])
  }

  private func word(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32($1 * 8) } }
  private var protocolVersion: Int { Int(bytes[0x206]) | Int(bytes[0x207]) << 8 }
  private var setupSize: Int { (Int(bytes[0x1F1] == 0 ? 4 : bytes[0x1F1]) + 1) * 512 }

  /// What the boot ROM keeps room for.
  private static let longestCommandLine = 2047
  /// Protected-mode kernels are loaded there.
  private static let start = 1 << 20

  /// Characters of a command line that reach the kernel.
  var commandLineLimit: Int {
    protocolVersion >= 0x206 ? min(Int(word(0x238)), Self.longestCommandLine) : min(255, Self.longestCommandLine)
  }

  /// Bytes that the file has to have: the code's are counted in paragraphs of 16.
  private var fileSize: Int { setupSize + Int(protocolVersion >= 0x204 ? word(0x1F4) : word(0x1F4) & 0xFFFF) * 16 }

  /// The first address behind the unpacked kernel.
  private var end: Int {
    var end = Self.start + max(bytes.count - setupSize, 0)
    if protocolVersion >= 0x20A { end = max(end, max(Int(word(0x258)), Self.start) + Int(word(0x260))) }
    return end
  }

  /// - Parameters:
  ///   - initrd: its bytes.
  ///   - memory: bytes of memory below the hole.
  /// - Throws: `MachineError` for what the boot ROM would refuse, or cut.
  func check(initrd: Int, commandLine: Int, memory: UInt64) throws(MachineError) {
    guard protocolVersion >= 0x202, bytes[0x211] & 1 != 0 else { throw .linuxTooOld }
    guard bytes.count + 15 >= fileSize else { throw .kernelCutShort(bytes: bytes.count, of: fileSize) }
    guard commandLine <= commandLineLimit else {
      throw .commandLineTooLong(characters: commandLine, limit: commandLineLimit)
    }
    var top = Int(memory)
    if initrd > 0 { top = min(top, Int(protocolVersion >= 0x203 ? word(0x22C) : 0x37FF_FFFF) + 1) }
    let needed = end + initrd
    guard needed <= top else { throw .kernelDoesNotFit(bytes: UInt64(needed), memory: memory) }
  }
}
