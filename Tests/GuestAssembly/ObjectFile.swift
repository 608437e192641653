import Foundation

/// What the assembler has written: an ELF object file of 32 or 64 bits (System V ABI, chapter 4).
struct ObjectFile {
  private struct Section {
    var name: Int
    var type: Int
    var offset: Int
    var size: Int
  }

  private let bytes: [UInt8]
  private let isWide: Bool

  init(_ data: Data) {
    bytes = [UInt8](data)
    isWide = bytes.count > 4 && bytes[4] == 2
  }

  /// The code, where nothing is left for a linker to do: no relocation, and nothing but code.
  var finishedCode: [UInt8]? {
    let relocations = [4, 9]
    let all = sections
    let names = number(at: isWide ? 62 : 50, 2)
    guard names < all.count, !all.contains(where: { relocations.contains($0.type) }) else { return nil }
    func name(_ section: Section) -> String {
      String(decoding: bytes[(all[names].offset + section.name)...].prefix { $0 != 0 }, as: UTF8.self)
    }
    let contents = all.filter { $0.type == 1 && $0.size > 0 }
    guard contents.count == 1, name(contents[0]) == ".text" else { return nil }
    return Array(bytes[contents[0].offset..<contents[0].offset + contents[0].size])
  }

  private var sections: [Section] {
    let table = isWide ? number(at: 40, 8) : number(at: 32, 4)
    let size = number(at: isWide ? 58 : 46, 2)
    return (0..<number(at: isWide ? 60 : 48, 2)).map { index in
      let at = table + index * size
      return Section(
        name: number(at: at, 4), type: number(at: at + 4, 4),
        offset: isWide ? number(at: at + 24, 8) : number(at: at + 16, 4),
        size: isWide ? number(at: at + 32, 8) : number(at: at + 20, 4))
    }
  }

  private func number(at offset: Int, _ count: Int) -> Int {
    (0..<count).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
  }
}
