import Foundation

/// Guest code as text, assembled by the toolchain's clang: in Intel syntax, statements apart by line or semicolon.
///
///     GuestCode.assemble("mov ecx, 1000; 1: dec ecx; jnz 1b", bits: 64)
///
/// In Intel syntax clang makes 16-bit code's near calls, and 32-bit code's IRET, PUSH and POP of a segment register, of the
/// other width: there a text says `iretd`, or changes to `.att_syntax prefix`.
public enum GuestCode {
  public struct Failure: Error, CustomStringConvertible {
    public var description: String
  }

  /// - Parameters:
  ///   - bits: 16, 32 or 64.
  ///   - origin: the address of the first byte.
  ///   - symbols: addresses elsewhere that the code jumps to or names.
  /// - Returns: the bytes; the same text is assembled once.
  /// - Throws: `Failure` with what the assembler or the linker says.
  public static func assemble(
    _ text: String, bits: Int, origin: UInt64 = 0x1000, symbols: [String: UInt64] = [:]
  ) throws -> [UInt8] {
    let source = source(text, bits: bits)
    let definitions = symbols.sorted { $0.key < $1.key }.map { "--defsym=\($0.key)=\($0.value)" }
    let key = "\(origin) \(definitions) \(source)"
    if let known = lock.withLock({ cache[source] ?? cache[key] }) { return known }

    return try withObject(of: source, bits: bits) { object in
      // Most code is the same at every address.
      if let code = ObjectFile(try Data(contentsOf: object)).finishedCode {
        lock.withLock { cache[source] = code }
        return code
      }
      // The linker aligns what it places.
      let odd = origin % 16
      if odd != 0 {
        let padded = ".skip \(odd)\n" + text
        return Array(try assemble(padded, bits: bits, origin: origin - odd, symbols: symbols).dropFirst(Int(odd)))
      }
      let output = object.deletingLastPathComponent().appendingPathComponent("code")
      let place = ["-Ttext=0x" + String(origin, radix: 16), "--image-base=0", "--oformat=binary", "-e", "0"]
      let format = ["-m", bits == 64 ? "elf_x86_64" : "elf_i386"]
      try run("ld.lld", format + place + definitions + [object.path, "-o", output.path])
      let code = [UInt8](try Data(contentsOf: output))
      lock.withLock { cache[key] = code }
      return code
    }
  }

  /// Several texts by one run of the assembler, which takes longer to start than to assemble.
  ///
  /// - Parameter texts: of the same code at every address. Their labels are numbers, as those of all are in one text.
  /// - Returns: the bytes of each.
  /// - Throws: `Failure` with what the assembler says, or when code depends on its address.
  public static func assembleAll(_ texts: [String], bits: Int) throws -> [[UInt8]] {
    let sources = texts.map { source($0, bits: bits) }
    let missing = lock.withLock { Set(sources).filter { cache[$0] == nil } }.sorted()
    if !missing.isEmpty {
      // The pieces, then the length of each.
      let pieces = missing.enumerated().map { ".Lpiece\($0):\n\($1)" }
      let lengths = missing.indices.map { ".long .Lpiece\($0 + 1) - .Lpiece\($0)\n" }
      let all = pieces.joined() + ".Lpiece\(missing.count):\n" + lengths.joined()
      let code = try withObject(of: all, bits: bits) { ObjectFile(try Data(contentsOf: $0)).finishedCode }
      guard let code else { throw Failure(description: "one of \(texts) depends on its address") }
      let table = code.count - 4 * missing.count
      var at = 0
      for (index, source) in missing.enumerated() {
        let length = (0..<4).reduce(0) { $0 | Int(code[table + 4 * index + $1]) << (8 * $1) }
        lock.withLock { cache[source] = Array(code[at..<at + length]) }
        at += length
      }
    }
    return lock.withLock { sources.map { cache[$0]! } }
  }

  /// One text, with all of which it is one: a test's case and the cases.
  public static func assemble(_ text: String, among texts: [String], bits: Int) throws -> [UInt8] {
    _ = try assembleAll(texts, bits: bits)
    return try assemble(text, bits: bits)
  }

  private static func source(_ text: String, bits: Int) -> String { ".intel_syntax noprefix\n.code\(bits)\n\(text)\n" }

  /// What is assembled: by the source where it is the same at every address, by all that it depends on otherwise.
  nonisolated(unsafe) private static var cache: [String: [UInt8]] = [:]
  private static let lock = NSLock()

  private static func withObject<Result>(
    of source: String, bits: Int, _ body: (URL) throws -> Result
  ) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-code-" + UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let (input, object) = (folder.appendingPathComponent("code.s"), folder.appendingPathComponent("code.o"))
    try source.write(to: input, atomically: false, encoding: .utf8)
    let target = bits == 64 ? "x86_64" : "i386"
    try run("clang", ["--target=\(target)-unknown-none-elf", "-c", input.path, "-o", object.path])
    return try body(object)
  }

  /// The toolchain's programs lie beside its swift.
  private static let toolchain: URL = {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    let places = folders.map { URL(fileURLWithPath: $0 + "/swift") } + [URL(fileURLWithPath: "/usr/bin/clang")]
    let found = places.first { FileManager.default.isExecutableFile(atPath: $0.path) } ?? places.last!
    return found.resolvingSymlinksInPath().deletingLastPathComponent()
  }()

  private static func run(_ program: String, _ arguments: [String]) throws {
    let process = Process()
    // One that is not there is looked for where everybody's are.
    let own = toolchain.appendingPathComponent(program)
    let isThere = FileManager.default.isExecutableFile(atPath: own.path)
    process.executableURL = isThere ? own : URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = (isThere ? [] : [program]) + arguments
    let errors = Pipe()
    process.standardError = errors
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let said = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw Failure(description: "\(program): \(String(decoding: said, as: UTF8.self))")
    }
  }
}
