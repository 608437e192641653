import CLibFuzzer
import Foundation

/// `Fuzz TARGET [libFuzzer's options and folders]`, or `Fuzz TARGET --seeds FOLDER`: writes the target's own first inputs.
/// `scripts/fuzz` builds and runs it.
var arguments = CommandLine.arguments
guard arguments.count > 1, let chosen = allTargets.first(where: { $0.name == arguments[1] }) else {
  print(allTargets.map(\.name).joined(separator: "\n"))
  exit(arguments.count > 1 ? 64 : 0)
}
let target = chosen
if arguments.count == 4, arguments[2] == "--seeds" {
  for (index, seed) in try target.seeds().enumerated() {
    try Data(seed).write(to: URL(fileURLWithPath: arguments[3] + "/seed-\(index)"))
  }
  exit(0)
}
arguments.remove(at: 1)
var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
var count = Int32(arguments.count)
words.withUnsafeMutableBufferPointer { buffer in
  var start = buffer.baseAddress
  exit(
    LLVMFuzzerRunDriver(&count, &start) { data, size in
      target.run(Array(UnsafeBufferPointer(start: data, count: size)))
      return 0
    })
}
